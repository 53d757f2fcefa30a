// A form: one submit at a time, and a problem document (RFC 9457) shown where it belongs: `errors[].pointer` `#/amount` is the input
// named `amount`; what no input stands for goes to the form's `role="alert"`, with the id to quote when asking for help.
import { find } from "./dom";
import { Refused, SignedOut, type Problem } from "./session";

export type Shown = Pick<Problem, "detail"> & Partial<Pick<Problem, "code" | "errors" | "request_id">>;

/** `act` does the work and returns the problem, if there is one. */
export function onSubmit(form: HTMLFormElement, act: () => Promise<Shown | undefined | void>): void {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void whileBusy(form, act);
  });
}

/** Runs the work of a form, which takes nothing else meanwhile. Its buttons are not disabled: the focus would be lost with them. */
export async function whileBusy(form: HTMLFormElement, act: () => Promise<Shown | undefined | void>): Promise<void> {
  if (form.ariaBusy === "true") return;
  form.ariaBusy = "true";
  clear(form);
  try {
    const problem = await act();
    if (problem) show(form, problem);
  } catch (error) {
    if (!(error instanceof SignedOut)) show(form, { detail: saying(error) });
  } finally {
    form.ariaBusy = "false";
  }
}

/** As the API would say that a field is wrong, for what never gets there. */
export function wrongField(name: string, message: string): Shown {
  return { detail: "", errors: [{ field: name, pointer: `#/${name}`, code: "format", message, parameters: {} }] };
}

export function saying(error: unknown): string {
  if (error instanceof Refused) return `The API does not trust this page: ${error.message} (README.md: same site, CORS)`;
  console.error(error);
  return "There was no answer. Please try again.";
}

function show(form: HTMLFormElement, problem: Shown): void {
  const elsewhere: string[] = [];
  for (const { pointer, field, message } of problem.errors ?? []) {
    const input = form.elements.namedItem(pointer?.replace(/^#\//, "") ?? field);
    if (input instanceof HTMLInputElement || input instanceof HTMLSelectElement) mark(input, message);
    else elsewhere.push(`${field} ${message}`);
  }
  const told = problem.errors?.length ? elsewhere.join("; ") : problem.detail;
  const id = told && problem.request_id ? ` (${problem.request_id})` : "";
  find(form, "[role=alert]").textContent = told + id;
  form.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
}

function mark(input: HTMLInputElement | HTMLSelectElement, message: string): void {
  const note = document.createElement("span");
  note.className = "wrong";
  note.id = `wrong-${crypto.randomUUID()}`;
  note.textContent = message;
  input.after(note);
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-describedby", note.id);
}

function clear(form: HTMLFormElement): void {
  for (const note of form.querySelectorAll(".wrong")) note.remove();
  for (const input of form.querySelectorAll("[aria-invalid]")) {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-describedby");
  }
  find(form, "[role=alert]").textContent = "";
}
