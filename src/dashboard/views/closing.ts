import { useEffect, useRef } from 'preact/hooks';

interface KeyPress {
  readonly key: string;
  readonly currentTarget: HTMLDetailsElement;
}

/** Closes a `details` by a click elsewhere, and by Escape. */
export function useClosing() {
  const ref = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = ({ target }: Event) => {
      if (ref.current?.contains(target as Node) === false) ref.current.open = false;
    };
    document.addEventListener('click', close);
    return () => document.removeEventListener('click', close);
  }, []);
  const onKeyDown = ({ key, currentTarget }: KeyPress) => {
    if (key !== 'Escape') return;
    currentTarget.open = false;
    currentTarget.querySelector('summary')?.focus();
  };
  return { ref, onKeyDown };
}
