// A page that writes IndexedDB and localStorage in Chromium, and one that reads what it finds there.
//
//   browser.js write PROFILE PORT    writes at full speed until killed; prints READY at the first finished transaction
//   browser.js read PROFILE PORT     prints the JSON of what the page finds
//
// Every transaction writes its number into 8 counters and into one log record: a database in which they differ was
// never committed.
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { chromium } = require("playwright-core");

const PAGE = `<!doctype html><title>levault</title><script>
const done = (transaction) => new Promise((yes, no) => {
  transaction.oncomplete = yes;
  transaction.onerror = transaction.onabort = () => no(transaction.error);
});
const result = (request) => new Promise((yes, no) => {
  request.onsuccess = () => yes(request.result);
  request.onerror = () => no(request.error);
});
function open() {
  const request = indexedDB.open("torture", 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("counters");
    const log = request.result.createObjectStore("log", { keyPath: "number" });
    log.createIndex("word", "word");
  };
  return result(request);
}
const word = (number) => "w" + (number * 7919) % 1000;
async function write(database, number) {
  const transaction = database.transaction(["counters", "log"], "readwrite");
  for (let counter = 0; counter < 8; counter++) transaction.objectStore("counters").put(number, counter);
  transaction.objectStore("log").put({ number, word: word(number), body: "x".repeat(2000) });
  if (number > 500) transaction.objectStore("log").delete(number - 500);
  await done(transaction);
  localStorage.setItem("item/" + number % 300, number + ":" + "y".repeat(500));
}
async function writeFor(milliseconds) {
  const database = await open(), end = Date.now() + milliseconds;
  let number = (await result(database.transaction("counters").objectStore("counters").get(0))) ?? 0;
  while (Date.now() < end) await write(database, ++number);
  database.close();
  return number;
}
async function read() {
  const database = await open();
  const transaction = database.transaction(["counters", "log"]);
  const counters = await result(transaction.objectStore("counters").getAll());
  const log = await result(transaction.objectStore("log").getAll());
  const words = await result(transaction.objectStore("log").index("word").count());
  return {
    counters,
    log: [log[0].number, log.at(-1).number, log.length],
    words,
    sound: log.every((record, index) => record.number === log[0].number + index && record.word === word(record.number)),
    items: Object.keys(localStorage).length,
  };
}
</script>`;

async function browse(profile, port) {
  const server = http.createServer((_, answer) => {
    answer.setHeader("content-type", "text/html; charset=utf-8");
    answer.end(PAGE);
  });
  await new Promise((ready) => server.listen(port, "127.0.0.1", ready));
  const program = process.env.PATH.split(":").map((dir) => path.join(dir, "chromium")).find((file) => fs.existsSync(file));
  const quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"];
  quiet.push("--disable-background-networking", "--disable-component-update");
  const context = await chromium.launchPersistentContext(profile, { executablePath: program, headless: true, args: quiet });
  const page = context.pages()[0] ?? (await context.newPage());
  await page.goto(`http://127.0.0.1:${port}/`);
  return { context, page };
}

async function main() {
  const [, , mode, profile, port] = process.argv;
  const { context, page } = await browse(profile, Number(port));
  if (mode === "read") {
    console.log(JSON.stringify(await page.evaluate(() => read())));
    await context.close();
    process.exit();
  }
  await page.evaluate(() => writeFor(10));
  console.log("READY");
  for (;;) await page.evaluate(() => writeFor(5000));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
