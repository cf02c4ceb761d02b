import { useEffect, useId, useRef, useState } from 'preact/hooks';

import type { Store } from '../state/store.ts';

export function SignIn({ store, message }: { store: Store; message: string | undefined }) {
  const [token, setToken] = useState('');
  const id = useId();
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  return (
    <form
      class="sign-in"
      onSubmit={(event) => {
        event.preventDefault();
        if (token.trim() !== '') store.signIn(token.trim());
        setToken('');
      }}
    >
      <h2>Sign in</h2>
      <p id={`${id}-about`}>
        Enter a token with the scope <code>read</code>. It is kept only in this tab, until you close
        it.
      </p>
      <label for={id}>Token</label>
      <input
        id={id}
        ref={field}
        type="password"
        autocomplete="off"
        spellcheck={false}
        required
        value={token}
        aria-describedby={`${id}-about ${id}-error`}
        aria-invalid={message !== undefined}
        onInput={({ currentTarget }) => setToken(currentTarget.value)}
      />
      <p id={`${id}-error`} class="wrong" role="alert">
        {message}
      </p>
      <button type="submit" class="main">
        Sign in
      </button>
    </form>
  );
}
