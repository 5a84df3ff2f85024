// Builds what the console's pages load into the package: node build.mjs FOLDER
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { coast } from "./coast.mjs";

const here = import.meta.dirname;
const folder = process.argv[2] ?? join(here, "../src/tawtin/web/console/static/built");

rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: { app: "src/app/index.js", plot: "src/plot.js", editor: "src/editor/index.js" },
  outdir: folder,
  bundle: true,
  minify: true,
  format: "iife",
  target: ["es2023"],
  charset: "utf8",
  legalComments: "none", // LICENSES.txt has them whole
  metafile: true,
  logLevel: "warning",
});
const atlas = JSON.parse(readFileSync(join(here, "node_modules/world-atlas/countries-50m.json"), "utf8"));
writeFileSync(join(folder, "coast.svg"), coast(atlas));
writeFileSync(join(folder, "LICENSES.txt"), licences(Object.keys(metafile.inputs)));

/** Name, version, licence and its text of every package of which something was bundled. */
function licences(inputs) {
  const names = inputs.map((each) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(each)?.[1]);
  const bundled = [...new Set([...names.filter(Boolean), "world-atlas"])].sort();
  return bundled.map(licence).join(`\n${"-".repeat(80)}\n\n`);
}

function licence(name) {
  const place = join(here, "node_modules", name);
  const { version, license } = JSON.parse(readFileSync(join(place, "package.json"), "utf8"));
  const file = readdirSync(place).find((each) => /^licen[cs]e/i.test(each));
  const text = file ? readFileSync(join(place, file), "utf8").trim() : "";
  return `${name} ${version}: ${license}\n\n${text}\n`;
}
