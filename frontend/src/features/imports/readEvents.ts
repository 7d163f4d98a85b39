/**
 * TensorBoard event files: scalars of the old and the new style. Layout: length (u64), checksum of it, record,
 * checksum; the record is a protobuf `Event`. Text, images and histograms are left to `stillroom import tensorboard`.
 */

import { addPoint, BadSource, newRun, type SourceRun } from "./source";

const [FLOAT, DOUBLE] = [1, 2];

type Field = readonly [number: number, value: number | bigint | DataView];

/** One file as one run. Raises BadSource. A last record that is cut off is left out, as a writer may still be at it. */
export function readEvents(path: string, content: ArrayBuffer): SourceRun {
  const folders = path.split("/");
  const run = newRun(path, folders.at(-2) ?? folders.at(-1) ?? path);
  const view = new DataView(content);
  let at = 0;
  let records = 0;
  while (at + 12 <= view.byteLength) {
    const length = Number(view.getBigUint64(at, true));
    if (length > view.byteLength) {
      if (records > 0) break;
      throw new BadSource("This is no TensorBoard event file: its first record is longer than the file.");
    }
    if (at + 16 + length > view.byteLength) break;
    try {
      takeEvent(run, new DataView(content, at + 12, length));
    } catch (error) {
      if (error instanceof RangeError) throw new BadSource(`The record at byte ${at} is damaged.`);
      throw error;
    }
    at += 16 + length;
    records += 1;
  }
  if (records === 0) throw new BadSource("The file has no whole record.");
  if (run.columns.size === 0) throw new BadSource("The file has no scalars.");
  return run;
}

function takeEvent(run: SourceRun, event: DataView): void {
  let [time, step] = [0, 0];
  const values: DataView[] = [];
  for (const [number, value] of fields(event)) {
    if (number === 1 && value instanceof DataView) time = value.getFloat64(0, true);
    else if (number === 2 && typeof value === "bigint") step = Number(BigInt.asIntN(64, value));
    else if (number === 5 && value instanceof DataView)
      for (const [inner, message] of fields(value))
        if (inner === 1 && message instanceof DataView) values.push(message);
  }
  for (const message of values) {
    const parts = new Map<number, Field[1]>(fields(message));
    const tag = parts.get(1);
    const [simple, tensor] = [parts.get(2), parts.get(8)];
    const value =
      simple instanceof DataView
        ? simple.getFloat32(0, true)
        : tensor instanceof DataView
          ? scalarOf(tensor)
          : null;
    if (value !== null && tag instanceof DataView)
      addPoint(run, new TextDecoder().decode(tag), step, value, time);
  }
}

/** The value of a tensor of one number; null for anything else. */
function scalarOf(tensor: DataView): number | null {
  const parts = [...fields(tensor)];
  const kind = Number(parts.find(([number]) => number === 1)?.[1] ?? 0);
  const bytes = (wanted: number): DataView | null => {
    const found = parts.find(([number, value]) => number === wanted && value instanceof DataView)?.[1];
    return found instanceof DataView ? found : null;
  };
  const size = kind === FLOAT ? 4 : kind === DOUBLE ? 8 : 0;
  const held = bytes(4) ?? bytes(kind === FLOAT ? 5 : 6);
  if (size === 0 || held?.byteLength !== size) return null;
  return kind === FLOAT ? held.getFloat32(0, true) : held.getFloat64(0, true);
}

/** Fields of a protobuf message: varints as bigint, everything else as its bytes. */
function* fields(message: DataView): Generator<Field> {
  let at = 0;
  const varint = (): bigint => {
    let [value, shift] = [0n, 0n];
    for (;;) {
      const byte = message.getUint8(at++);
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
      shift += 7n;
      if (shift > 63n) throw new RangeError("A number is too long.");
    }
  };
  const take = (length: number): DataView => {
    const part = new DataView(message.buffer, message.byteOffset + at, length);
    if (at + length > message.byteLength) throw new RangeError("A field is longer than its message.");
    at += length;
    return part;
  };
  while (at < message.byteLength) {
    const key = Number(varint());
    const wire = key & 7;
    const number = key >>> 3;
    if (wire === 0) yield [number, varint()];
    else if (wire === 1) yield [number, take(8)];
    else if (wire === 2) yield [number, take(Number(varint()))];
    else if (wire === 5) yield [number, take(4)];
    else throw new RangeError("Unknown kind of field.");
  }
}
