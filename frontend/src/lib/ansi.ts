/** Log lines are hostile text: escape sequences and control characters are removed, the rest stays as text. */

// eslint-disable-next-line no-control-regex -- these are the characters to remove
const ESCAPES = /\u001b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])/g;
// eslint-disable-next-line no-control-regex -- these are the characters to remove
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

export function plainLine(text: string): string {
  return text.replace(ESCAPES, "").replace(CONTROLS, "");
}
