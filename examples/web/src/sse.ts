// Server-sent events out of a fetch response. EventSource cannot send an Authorization header, and a token has no place in a URL.

export type ServerEvent = { id: string | null; name: string; data: string };

const nothing: ServerEvent = { id: null, name: "message", data: "" };

/** As the HTML standard reads them: `field: value` lines, an empty line ends an event, `:` begins a comment. */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent | "comment"> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let [rest, event] = ["", nothing];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line.startsWith(":")) yield "comment";
      else if (line !== "") event = withField(event, line);
      else {
        if (event.data !== "" || event.id !== null) yield event; // an id alone says where to go on from
        event = nothing;
      }
    }
  }
}

function withField(event: ServerEvent, line: string): ServerEvent {
  const [, field, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
  if (field === "event") return { ...event, name: value };
  if (field === "id") return { ...event, id: value };
  if (field === "data") return { ...event, data: event.data === "" ? value : `${event.data}\n${value}` };
  return event;
}
