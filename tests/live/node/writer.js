// writer.py for classic-level (C++ LevelDB as Node programs have it):  writer.js DB ACKS BUFFER VALUE PACE_US
const fs = require("node:fs");
const zlib = require("node:zlib");
const { ClassicLevel } = require("classic-level");

const [, , path, acks, buffer, value, pace] = process.argv;

const table = Array.from({ length: 256 }, (_, index) => {
  let crc = index;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1;
  return crc >>> 0;
});
const crc32 = zlib.crc32 ?? ((text) => {
  let crc = 0xffffffff;
  for (const byte of Buffer.from(text)) crc = table[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
});

function batch(number) {
  const text = String(number);
  const changes = [];
  for (let counter = 0; counter < 16; counter++) {
    changes.push({ type: "put", key: `counter/${String(counter).padStart(2, "0")}`, value: text });
  }
  changes.push({ type: "put", key: `log/${text.padStart(12, "0")}`, value: text });
  if (number > 400) changes.push({ type: "del", key: `log/${String(number - 400).padStart(12, "0")}` });
  for (let index = 0; index < 4; index++) {
    const chance = crc32(`${number}/${index}`);
    const key = `key/${String(chance % 500).padStart(4, "0")}`;
    if (Math.floor(chance / 500) % 5 === 0) changes.push({ type: "del", key });
    else changes.push({ type: "put", key, value: `${number}:${index}:`.padEnd(Number(value), "x") });
  }
  return changes;
}

async function main() {
  const database = new ClassicLevel(path, { writeBufferSize: Number(buffer) });
  await database.open();
  const ack = fs.openSync(acks, "r+");
  const bytes = Buffer.alloc(8);
  for (let number = 1; ; number++) {
    await database.batch(batch(number));
    bytes.writeBigUInt64LE(BigInt(number));
    fs.writeSync(ack, bytes, 0, 8, 0);
    if (Number(pace)) await new Promise((resolve) => setTimeout(resolve, Number(pace) / 1000));
  }
}

main();
