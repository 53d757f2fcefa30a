// Amounts are whole minor units (cents) everywhere but on the screen; no float ever holds money.
import { fetchInTime } from "./retry";
import { API } from "./session";

/** Two for the rand, none for the yen: of ISO 4217, as the browser knows it. */
function exponent(currency: string): number {
  return new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions().maximumFractionDigits ?? 2;
}

/** The number as digits, so that even what a float cannot hold is shown to the cent. */
export function format(minor: number, currency: string): string {
  const digits = exponent(currency);
  const text = String(Math.abs(minor)).padStart(digits + 1, "0");
  const decimal = digits === 0 ? text : `${text.slice(0, -digits)}.${text.slice(-digits)}`;
  const sign = minor < 0 ? "-" : "";
  return new Intl.NumberFormat(undefined, { style: "currency", currency }).format(`${sign}${decimal}` as Intl.StringNumericLiteral);
}

/** "1 500,50" is 150050 cents of rand; null is no amount. */
export function parse(text: string, currency: string): number | null {
  const digits = exponent(currency);
  const [, whole, fraction = ""] = /^(\d{1,13})(?:[.,](\d+))?$/.exec(text.replace(/\s/g, "")) ?? [];
  if (whole === undefined || fraction.length > digits) return null;
  return Number(whole + fraction.padEnd(digits, "0"));
}

/** Those that customers may use. */
export async function currencies(): Promise<string[]> {
  const response = await fetchInTime(new Request(`${API}/v1/config`)).catch(() => null);
  if (!response?.ok) return ["ZAR"];
  const config = (await response.json()) as { currencies: { code: string }[] };
  return config.currencies.map(({ code }) => code);
}
