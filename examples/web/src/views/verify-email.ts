// The link of the mail: /verify-email#token=…. What follows `#` reaches no server and no log; it is taken out of the address at once.
// A button confirms, so that programs that open links in mails use up no token.
import { anyone } from "../api";
import { fill, find, keepFocus } from "../dom";
import { onSubmit } from "../forms";

export function verifyEmail(page: HTMLElement): void {
  const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
  history.replaceState(null, "", location.pathname);
  const form = find<HTMLFormElement>(page, "#verify-form");
  onSubmit(form, async () => {
    const { error } = await anyone.POST("/v1/auth/verify-email", { body: { token } });
    if (error) return error;
    fill(form, { outcome: "Your address is confirmed." });
    keepFocus(page, () => (find(form, "button").hidden = true));
    return undefined;
  });
}
