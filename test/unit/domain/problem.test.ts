import { describe, expect, it } from 'vitest';

import { problemCodes, problemDetails, statusOfProblem } from '../../../src/domain/problem.ts';

describe.each(problemCodes)('the problem %s', (code) => {
  it('has a name in snake_case', () => {
    expect(code).toMatch(/^[a-z]+(_[a-z]+)*$/);
  });

  it('has a status of 4xx or 5xx, which its document repeats', () => {
    const status = statusOfProblem(code);
    expect(status).toBeGreaterThanOrEqual(400);
    expect(status).toBeLessThan(600);
    expect(Number.isInteger(status)).toBe(true);
    expect(problemDetails({ code, detail: 'Why.' }).status).toBe(status);
  });

  it('has a document of RFC 9457', () => {
    const document = problemDetails({ code, detail: 'Why.' });
    expect(document).toEqual({
      type: `urn:problem-type:device-pipeline:${code}`,
      title: expect.stringMatching(/^[A-Z][^.]+$/) as string,
      status: statusOfProblem(code),
      detail: 'Why.',
      code,
    });
  });
});

describe('a problem of items', () => {
  it('lists them, and says how many they are', () => {
    const errors = [{ index: 3, field: 'type', code: 'blank', message: 'type is blank' }] as const;
    const problem = { code: 'no_valid_items', detail: 'Why.', rejected: 1, errors } as const;
    expect(problemDetails(problem)).toMatchObject({ rejected: 1, errors });
  });

  it('does not tell in its document when to try again: that is a header', () => {
    const problem = { code: 'overloaded', detail: 'Why.', retryAfterSeconds: 1 } as const;
    expect(JSON.stringify(problemDetails(problem))).not.toContain('etry');
  });
});
