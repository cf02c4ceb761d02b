/** The parts of a CloudFormation template that the local engine reads. */
export interface Template {
  readonly Resources: Readonly<Record<string, Resource>>;
  readonly Outputs?: Readonly<Record<string, { readonly Value: unknown }>>;
}

export interface Resource {
  readonly Type: string;
  readonly Properties?: Properties;
}

export type Properties = Readonly<Record<string, unknown>>;

/** The template contains something that the local engine does not support; the message says what. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError';
}

/** The values of `Ref` and `Fn::GetAtt` of a resource. */
export interface Physical {
  readonly ref: string;
  readonly attributes: Readonly<Record<string, string>>;
}

/** Resolves the intrinsic functions within a value; errors name `where`. */
export type Resolve = (value: unknown, where: string) => unknown;

/**
 * A resolver for the resources in `physical` and the pseudo parameters. It throws TemplateError for
 * anything else, so that the emulated stack does not run with incomplete values.
 */
export function resolver(
  template: Template,
  physical: ReadonlyMap<string, Physical>,
  pseudo: Readonly<Record<string, string>>,
): Resolve {
  const reference = (name: string, where: string): string => {
    const found = pseudo[name] ?? physical.get(name)?.ref;
    if (found !== undefined) return found;
    throw new TemplateError(`${where} refers to ${describe(template, name)}`);
  };
  const attribute = (name: string, attributeName: string, where: string): string => {
    const found = physical.get(name)?.attributes[attributeName];
    if (found !== undefined) return found;
    throw new TemplateError(`${where} refers to ${attributeName} of ${describe(template, name)}`);
  };
  const substitute = (text: string, own: Properties, where: string): string =>
    text.replaceAll(/\$\{(!?)([^}]+)\}/g, (whole, literal: string, name: string) => {
      if (literal !== '') return whole.replace('!', '');
      if (name in own) return textOf(resolve(own[name], where), where);
      const [id = '', ...path] = name.split('.');
      return path.length === 0 ? reference(id, where) : attribute(id, path.join('.'), where);
    });
  const intrinsics: Record<string, (argument: unknown, where: string) => unknown> = {
    Ref: (name, where) => reference(textOf(name, where), where),
    'Fn::GetAtt'(argument, where) {
      const [name = '', ...path] =
        typeof argument === 'string' ? argument.split('.') : listOf(argument, where);
      return attribute(textOf(name, where), path.join('.'), where);
    },
    'Fn::Join'(argument, where) {
      const [separator, parts] = listOf(argument, where);
      const texts = listOf(parts, where).map((part) => textOf(resolve(part, where), where));
      return texts.join(textOf(separator, where));
    },
    'Fn::Sub'(argument, where) {
      if (typeof argument === 'string') return substitute(argument, {}, where);
      const [text, own] = listOf(argument, where);
      return substitute(textOf(text, where), propertiesOf(own, where), where);
    },
  };
  function resolve(value: unknown, where: string): unknown {
    if (Array.isArray(value)) return value.map((each) => resolve(each, where));
    if (typeof value !== 'object' || value === null) return value;
    const entries = Object.entries(value);
    const [name = '', argument] = entries[0] ?? [];
    const isIntrinsic = entries.length === 1 && /^(Ref|Condition|Fn::\w+)$/.test(name);
    if (!isIntrinsic) {
      return Object.fromEntries(entries.map(([key, each]) => [key, resolve(each, where)]));
    }
    const intrinsic = intrinsics[name];
    if (intrinsic !== undefined) return intrinsic(argument, where);
    throw new TemplateError(
      `${where} uses ${name}, which the local engine does not support (${JSON.stringify(value)})`,
    );
  }
  return resolve;
}

function describe(template: Template, name: string): string {
  const type = template.Resources[name]?.Type;
  if (type === undefined) return `${name}, which is not a resource of the template`;
  const hint =
    type === 'AWS::SecretsManager::Secret'
      ? ': nothing stands in for Secrets Manager here, so synthesise the stack with tokens off'
      : '';
  return `${name} (${type}), which the local engine does not have${hint}`;
}

export function textOf(value: unknown, where: string): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  throw new TemplateError(`${where} must be a text, got ${JSON.stringify(value)}`);
}

/** A number, possibly written as a string; the default if it is missing. */
export function numberOf(value: unknown, defaultValue: number, where: string): number {
  if (value === undefined) return defaultValue;
  const number = Number(textOf(value, where));
  if (Number.isFinite(number)) return number;
  throw new TemplateError(`${where} must be a number, got ${JSON.stringify(value)}`);
}

export function listOf(value: unknown, where: string): readonly unknown[] {
  if (value === undefined) return [];
  if (Array.isArray(value)) return value;
  throw new TemplateError(`${where} must be a list, got ${JSON.stringify(value)}`);
}

export function propertiesOf(value: unknown, where: string): Properties {
  if (value === undefined) return {};
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as Properties;
  }
  throw new TemplateError(`${where} must be an object, got ${JSON.stringify(value)}`);
}
