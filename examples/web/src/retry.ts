// Outages are waited for, gently: the API restarts, the network goes, a limit is reached. None of them is an answer.

const FIRST_MS = 500;
const LONGEST_MS = 15_000;

/** A response that says nothing about what was asked: the same call may be answered later. */
function isOutage(response: Response): boolean {
  return response.status === 408 || response.status === 429 || response.status >= 500;
}

/** Asks until there is an answer. `null` is one, too: it was not necessary to ask any more. */
export async function patiently<T extends Response | null>(send: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  const me = {};
  try {
    for (let tries = 0; ; tries += 1) {
      const response = await send().catch(notAnswered);
      if (response !== undefined && (response === null || !isOutage(response))) return response;
      waiting.add(me);
      announce();
      await pause(waitMs(tries, response?.headers.get("Retry-After") ?? null), signal);
    }
  } finally {
    waiting.delete(me);
    announce();
  }
}

/** A TypeError of `fetch`: nobody answers. A TimeoutError: nobody does in time. A SyntaxError: what came is no JSON. The rest is ours. */
function notAnswered(error: unknown): undefined {
  const isNone = error instanceof TypeError || error instanceof SyntaxError;
  if (isNone || (error instanceof DOMException && error.name === "TimeoutError")) return undefined;
  throw error;
}

/** Twice as long each time, and never all tabs at once. */
function waitMs(tries: number, retryAfter: string | null): number {
  const told = Number(retryAfter) * 1000;
  const most = Math.min(LONGEST_MS, FIRST_MS * 2 ** tries);
  return (told > 0 ? Math.min(told, 4 * LONGEST_MS) : most / 2) + (Math.random() * most) / 2;
}

/** Waits, but not longer than until the network is back. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const over = new AbortController();
    const end = (settle: () => void) => () => {
      clearTimeout(timer);
      over.abort();
      settle();
    };
    const timer = setTimeout(end(resolve), ms);
    window.addEventListener("online", end(resolve), { signal: over.signal });
    signal?.addEventListener("abort", end(() => reject(signal.reason)), { signal: over.signal });
    if (signal?.aborted) end(() => reject(signal.reason))();
  });
}

// -- what the person is told meanwhile --------------------------------------------------------------------------------

const waiting = new Set<object>();
let listener = (_isWaiting: boolean): void => undefined;

/** Calls back when the first call begins to wait, and when none does any more. */
export function onOutage(callback: (isWaiting: boolean) => void): void {
  listener = callback;
}

function announce(): void {
  listener(waiting.size > 0);
}

// -- one try ----------------------------------------------------------------------------------------------------------

/** More than the API takes for any answer, the longest poll included. */
const HEADERS_MS = 40_000;

/** `fetch` with a deadline for the beginning of the answer; a stream may go on for as long as it likes. */
export async function fetchInTime(request: Request): Promise<Response> {
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(new DOMException("no answer", "TimeoutError")), HEADERS_MS);
  try {
    const response = await fetch(request, { signal: AbortSignal.any([request.signal, deadline.signal]) });
    if (isOfTheApi(response)) return response;
    throw new TypeError(`${response.status}, but not from the API`); // as if nobody had answered
  } finally {
    clearTimeout(timer);
  }
}

/** Its errors are problem documents, and it speaks no HTML: a proxy does, or whatever else is in between. */
function isOfTheApi({ ok, headers }: Response): boolean {
  const type = headers.get("Content-Type") ?? "";
  return ok ? !type.startsWith("text/html") : type.startsWith("application/problem+json");
}
