import { defineConfig, loadEnv } from "vite";

// What a real host must send with the page too. A page that runs no inline script and talks to two places loses nothing by it.
function policy(api: string): string {
  return [
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", `connect-src 'self' ${api}`,
    "form-action 'none'", "base-uri 'none'", "frame-ancestors 'none'",
  ].join("; ");
}

export default defineConfig(({ mode }) => {
  const api = loadEnv(mode, ".", "VITE_")["VITE_API_URL"] ?? "http://127.0.0.1:8080";
  const headers = { "Content-Security-Policy": policy(api), "Referrer-Policy": "no-referrer" };
  // The API's host to the letter: a page of `localhost` is another site than an API of `127.0.0.1`, and gets no cookie of it.
  const where = { host: "127.0.0.1", port: 5173, strictPort: true, headers };
  return { server: where, preview: where, build: { target: "es2023", modulePreload: { polyfill: false } } };
});
