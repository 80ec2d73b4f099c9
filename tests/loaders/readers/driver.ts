import { Convert } from "./click_event";

declare const require: (module: string) => any;

const lines: string[] = require("fs").readFileSync("events.ndjson", "utf8").split("\n").slice(0, -1);
for (const line of lines) {
  const event = Convert.toClickEvent(line);
  // A feed may leave members out.
  const query = event.route?.params?.query ?? [];
  console.log([event.id, query.map((q) => q.name + "=" + q.value).join("&")].join(" "));
}
