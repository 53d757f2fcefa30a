// What scenarios are made of: browsers with one person's cookies, pages, customers that are there already, and wishes.
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** How long anything may take to be seen. */
export const PATIENCE_MS = 15_000;
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Something beyond the browser: `browser.py` does it. */
export async function wish(what, more = {}) {
  console.log(`wish ${JSON.stringify({ what, ...more })}`);
  const { granted, failed } = JSON.parse((await answers.next()).value);
  if (failed) throw new Error(failed);
  return granted;
}

export class World {
  constructor(browser, told) {
    Object.assign(this, told);
    this.chromium = browser;
    this.contexts = [];
    this.complaints = [];
  }

  /** A browser without cookies; its tabs are `newPage()`s of it. */
  async newBrowser(more = {}) {
    const context = await this.chromium.newContext({ acceptDownloads: true, locale: "en-ZA", ...more });
    context.setDefaultTimeout(PATIENCE_MS);
    context.on("weberror", (error) => this.complaints.push(String(error.error())));
    context.on("console", (message) => {
      if (message.text().includes("Content Security Policy")) this.complaints.push(message.text());
    });
    this.contexts.push(context);
    return context;
  }

  /** No error that nobody caught, and nothing that the page's policy forbids. */
  mustBeQuiet() {
    if (this.complaints.length > 0) throw new Error(`the page complained: ${this.complaints.join("; ")}`);
  }

  /** Somebody who has an account, and money if wanted, by way of the API. */
  async customer({ deposits = [], bankAccount = false } = {}) {
    const person = { email: `browser-${randomUUID()}@example.com`, password: `browser ${randomUUID()}`, full_name: "Thandi Nkosi" };
    await this.call("POST", "/v1/auth/register", { body: person });
    const { email, password } = person;
    const { access_token: token } = await this.call("POST", "/v1/auth/login", { body: { email, password } });
    for (const amount of deposits) await this.pay(token, amount);
    if (bankAccount) {
      const body = { account_holder: "Thandi Nkosi", account_number: "62001234567", branch_code: "250655", bank_name: "FNB" };
      await this.call("POST", "/v1/bank-accounts", { token, body });
    }
    return { ...person, token };
  }

  /** A deposit that is paid and booked. */
  async pay(token, amount) {
    const { id, checkout_url } = await this.call("POST", "/v1/deposits", { token, key: true, body: { amount, currency: "ZAR" } });
    await fetch(new URL("pay/", checkout_url), { method: "POST", redirect: "manual" });
    await until(`deposit ${id} is completed`, async () => {
      return (await this.call("GET", `/v1/transactions/${id}`, { token })).state === "completed";
    });
  }

  async call(method, path, { token, key, body } = {}) {
    const headers = {
      ...(body && { "Content-Type": "application/json" }),
      ...(token && { Authorization: `Bearer ${token}` }),
      ...(key && { "Idempotency-Key": randomUUID() }),
    };
    const response = await fetch(this.api + path, { method, headers, body: body && JSON.stringify(body) });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text && JSON.parse(text);
  }

  /** A tab in which the person has signed in through the page's form. */
  async signedIn(person, context) {
    const page = await (context ?? (await this.newBrowser())).newPage();
    await page.goto(this.page);
    await signIn(page, person);
    return page;
  }

  screenshot(page, name) {
    return page.screenshot({ path: join(this.screens, `${name}.png`), fullPage: true });
  }

  /** What the tabs showed when it failed. */
  async lastSeen() {
    const pages = this.contexts.flatMap((context) => context.pages());
    const seen = pages.map(async (page, index) => {
      const file = `failed-${Date.now()}-${index}`;
      await this.screenshot(page, file).catch(() => undefined);
      const text = await page.locator("body").innerText({ timeout: 1000 }).catch(() => "(nothing)");
      return `-- ${page.url()} (${file}.png)\n${text}`;
    });
    return (await Promise.all(seen)).join("\n");
  }

  async end() {
    await Promise.all(this.contexts.map((context) => context.close()));
  }
}

export async function signIn(page, person) {
  await submit(page, "#sign-in-form", person, ["email", "password"]);
  await isSignedIn(page);
}

export async function signOut(page) {
  await page.locator("#sign-out").click();
  await sees(page, "h1", "Sign in");
}

export const isSignedIn = (page) => page.locator("#nav").waitFor();

/** Fills the named fields of a form from an object and presses its button. */
export async function submit(page, form, values, names = Object.keys(values)) {
  for (const name of names) await page.locator(`${form} [name=${name}]`).fill(values[name]);
  await page.locator(`${form} button`).first().click();
}

/** Waits until an element with this text is seen. */
export async function sees(page, selector, text) {
  await page.locator(selector).filter({ hasText: text, visible: true }).first().waitFor();
}

/** Waits until something is so. */
export async function until(what, isSo) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error(`not within ${PATIENCE_MS / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export function mustBe(what, found, wanted) {
  if (found !== wanted) throw new Error(`${what}: expected ${wanted}, found ${found}`);
}
