/** The parts of a CloudFormation template that the local engine reads. */
export interface Template {
  readonly Resources: Readonly<Record<string, Resource>>;
  readonly Outputs?: Readonly<Record<string, { readonly Value: unknown }>>;
}

export interface Resource {
  readonly Type: string;
  readonly Properties?: Values;
}

type Values = Readonly<Record<string, unknown>>;

/** The template contains something that the local engine does not support; the message says what. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError';
}

/** The values of `Ref` and `Fn::GetAtt` of a resource. */
export interface Physical {
  readonly ref: string;
  readonly attributes: Readonly<Record<string, string>>;
}

/**
 * Resolves the intrinsic functions within a value. What it cannot resolve becomes a TemplateError that
 * names `where`; `Properties` throws it if the value is needed.
 */
export type Resolve = (value: unknown, where: string) => unknown;

/** A resolver for the resources in `physical` and the pseudo parameters. */
export function resolver(
  template: Template,
  physical: ReadonlyMap<string, Physical>,
  pseudo: Readonly<Record<string, string>>,
): Resolve {
  function resolve(value: unknown, where: string): unknown {
    if (Array.isArray(value)) return value.map((each) => resolve(each, where));
    if (typeof value !== 'object' || value === null) return value;
    const entries = Object.entries(value);
    const [name = '', argument] = entries[0] ?? [];
    if (entries.length !== 1 || !/^(Ref|Condition|Fn::\w+)$/.test(name)) {
      return Object.fromEntries(entries.map(([key, each]) => [key, resolve(each, where)]));
    }
    return (
      resolveIntrinsic(name, argument, where) ??
      new TemplateError(
        `${where} uses ${name}, which the local engine does not support (${JSON.stringify(value)})`,
      )
    );
  }
  function resolveIntrinsic(name: string, argument: unknown, where: string): unknown {
    if (name === 'Ref') {
      const id = String(argument);
      const found = pseudo[id] ?? physical.get(id)?.ref;
      return found ?? new TemplateError(`${where} refers to ${describe(template, id)}`);
    }
    if (name === 'Fn::GetAtt') {
      const [id = '', ...path] = argument as string[];
      const found = physical.get(id)?.attributes[path.join('.')];
      const what = `${path.join('.')} of ${describe(template, id)}`;
      return found ?? new TemplateError(`${where} refers to ${what}`);
    }
    if (name !== 'Fn::Join') return undefined;
    const [separator, parts] = argument as [string, unknown[]];
    const texts = parts.map((part) => resolve(part, where));
    return texts.find((text) => text instanceof TemplateError) ?? texts.join(separator);
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

/**
 * Resolved properties of a resource, or of a part of one. The methods throw TemplateError for values
 * of another type and for those that cannot be resolved.
 */
export class Properties {
  readonly #where: string;
  readonly #values: Values;

  constructor(where: string, values: Values) {
    this.#where = where;
    this.#values = values;
  }

  has(name: string): boolean {
    return this.#values[name] !== undefined;
  }

  text(name: string, defaultValue?: string): string {
    const value = this.#value(name) ?? defaultValue;
    if (typeof value === 'string') return value;
    if (typeof value === 'number' || typeof value === 'boolean') return String(value);
    throw this.#wrong(name, 'a text');
  }

  /** A number, possibly written as a string; the default if it is missing. */
  number(name: string, defaultValue: number): number {
    const number = Number(this.text(name, String(defaultValue)));
    if (Number.isFinite(number)) return number;
    throw this.#wrong(name, 'a number');
  }

  list(name: string): readonly unknown[] {
    const value = this.#value(name) ?? [];
    if (Array.isArray(value)) return value;
    throw this.#wrong(name, 'a list');
  }

  /** The texts of a property that is a text or a list of them. */
  textOrList(name: string): string[] {
    const value = this.#value(name);
    if (!Array.isArray(value)) return [this.text(name)];
    return value.map((each: unknown) => {
      if (each instanceof TemplateError) throw each;
      if (typeof each === 'string') return each;
      throw this.#wrong(name, 'a text or a list of texts');
    });
  }

  /** A property that is an object; an empty one if it is missing. */
  part(name: string): Properties {
    return this.#part(name, this.#value(name) ?? {});
  }

  /** A list of objects. */
  parts(name: string): Properties[] {
    return this.list(name).map((value) => this.#part(name, value));
  }

  /** All properties as texts. */
  texts(): Record<string, string> {
    return Object.fromEntries(Object.keys(this.#values).map((name) => [name, this.text(name)]));
  }

  toJSON(): Values {
    return this.#values;
  }

  #value(name: string): unknown {
    const value = this.#values[name];
    if (value instanceof TemplateError) throw value;
    return value;
  }

  #part(name: string, value: unknown): Properties {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw this.#wrong(name, 'an object');
    }
    return new Properties(`${this.#where}.${name}`, value as Values);
  }

  #wrong(name: string, wanted: string): TemplateError {
    const given = JSON.stringify(this.#values[name]);
    return new TemplateError(`${this.#where}.${name} must be ${wanted}, got ${given}`);
  }
}
