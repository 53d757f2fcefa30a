// The little that is needed to fill plain HTML. Text is set as text, never as markup.

export function find<T extends HTMLElement = HTMLElement>(root: ParentNode, selector: string): T {
  const found = root.querySelector<T>(selector);
  if (found === null) throw new Error(`the page has no ${selector}`);
  return found;
}

/** A copy of `<template id="…">`. */
export function fromTemplate(id: string): DocumentFragment {
  return find<HTMLTemplateElement & HTMLElement>(document, `template#${id}`).content.cloneNode(true) as DocumentFragment;
}

/** Sets the text of each element with a `data-text` of these names. */
export function fill(root: ParentNode, texts: Record<string, string | null | undefined>): void {
  for (const [name, text] of Object.entries(texts)) {
    for (const element of root.querySelectorAll(`[data-text=${name}]`)) element.textContent = text ?? "";
  }
}

export function setOptions(select: HTMLSelectElement, options: [value: string, text: string][]): void {
  const chosen = select.value;
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value, false, value === chosen)));
}

/** Changes what is shown. The focus goes from what is replaced to its next version, from what is gone to `place`: never to nothing. */
export function keepFocus(place: HTMLElement, change: () => void): void {
  const focused = document.activeElement;
  const id = focused?.closest<HTMLElement>("[data-id]")?.dataset["id"];
  change();
  if (!focused || focused.checkVisibility()) return;
  (place.querySelector<HTMLElement>(`[data-id="${id}"] :is(a, button)`) ?? place).focus({ preventScroll: true });
}

/** The text of a field, trimmed. */
export function text(form: HTMLFormElement, name: string): string {
  return String(new FormData(form).get(name) ?? "").trim();
}

/** Saves what a fetch has brought: a link could not send the token. */
export function save(file: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
