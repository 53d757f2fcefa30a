// Sign in, with the second factor when it is asked for; register.
import { anyone } from "../api";
import { find, text } from "../dom";
import { onSubmit } from "../forms";
import { signIn as openSession, type Problem } from "../session";

export function signIn(page: HTMLElement): void {
  const form = find<HTMLFormElement>(page, "#sign-in-form");
  onSubmit(form, async () => {
    const code = text(form, "totp_code");
    const problem = await openSession({ ...credentials(form), ...(code !== "" && { totp_code: code }) });
    return askForCode(form, problem);
  });

  const newcomer = find<HTMLFormElement>(page, "#register-form");
  onSubmit(newcomer, async () => {
    const body = { ...credentials(newcomer), full_name: text(newcomer, "full_name") };
    const { error } = await anyone.POST("/v1/auth/register", { body });
    return error ?? openSession(credentials(newcomer));
  });
}

function credentials(form: HTMLFormElement): { email: string; password: string } {
  return { email: text(form, "email"), password: find<HTMLInputElement>(form, "[name=password]").value };
}

/** Shows the field for the code when that is all that is missing. */
export function askForCode(form: HTMLFormElement, problem: Problem | undefined): Problem | undefined {
  if (problem?.code !== "totp_required") return problem;
  find(form, "[data-code]").hidden = false;
  find<HTMLInputElement>(form, "[name=totp_code]").focus();
  return problem;
}
