/**
 * Prefixes that a spreadsheet interprets as a formula, and the apostrophe, which prevents that.
 * Source: OWASP, "CSV Injection".
 */
const formulaStart = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20']/u;
const needsQuotes = /[",;\t\r\n]/;

/**
 * A line of CSV (RFC 4180) with its end. A text that a spreadsheet would calculate gets an apostrophe in
 * front, and so does a text that begins with an apostrophe: a reader gets the text back by removing one.
 */
export function csvLine(fields: readonly (string | number)[]): string {
  return `${fields.map(csvField).join(',')}\r\n`;
}

function csvField(field: string | number): string {
  if (typeof field === 'number') return String(field);
  const isGuarded = formulaStart.test(field);
  const text = isGuarded ? `'${field}` : field;
  return isGuarded || needsQuotes.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
