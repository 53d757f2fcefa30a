// Every scenario in a browser of its own people, one after another, and one line that sums up. `browser.py` calls it.
import { chromium } from "playwright-core";
import { details } from "./details.mjs";
import { scenarios } from "./scenarios.mjs";
import { World } from "./world.mjs";

const told = JSON.parse(process.argv[2]);
const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

const browser = await chromium.launch({ executablePath: told.browser, args: FLAGS }); // a fresh profile each time
const all = Object.entries({ ...scenarios, ...details });
const chosen = all.filter(([title]) => told.filters.every((word) => title.includes(word)));
let failed = 0;
for (const [title, scenario] of chosen) {
  const began = performance.now();
  const world = new World(browser, told);
  let why = "";
  try {
    await scenario(world);
    world.mustBeQuiet();
  } catch (error) {
    why = `\n${error.stack}\n${await world.lastSeen()}`;
    failed += 1;
  }
  await world.end();
  console.log(`   ${why ? "FAIL" : "ok  "} ${title}, ${((performance.now() - began) / 1000).toFixed(1)} s${why}`);
}
await browser.close();
const passed = chosen.length - failed;
console.log(`test result: ${failed ? "FAILED" : "ok"}. ${passed} passed; ${failed} failed; ${all.length - chosen.length} ignored`);
process.exit(failed ? 1 : 0);
