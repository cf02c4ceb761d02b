import { useState } from 'preact/hooks';

export function FirstRun({ isSignedIn }: { isSignedIn: boolean }) {
  const timestamp = `${new Date().toISOString().slice(0, 19)}Z`;
  const event = JSON.stringify({ type: 'laptop', state: 'erased', timestamp });
  const batch = `{"processed_devices": [\n    ${event}\n  ]}`;
  const token = isSignedIn ? `  -H "Authorization: Bearer $DEVICE_PIPELINE_TOKEN" \\\n` : '';
  const address = new URL('.', location.href).href.replace(/\/$/, '');
  const curl = `curl ${address}/ingest \\\n  -H 'Content-Type: application/json' \\\n${token}  -d '${batch}'`;
  return (
    <section class="first-run">
      <h2>Ready for the first batch</h2>
      <p>There are no counts yet. Send an event, and this page turns into the dashboard.</p>
      {isSignedIn && (
        <p class="aside">
          Sending requires a token with the scope <code>ingest</code>, here in{' '}
          <code>DEVICE_PIPELINE_TOKEN</code>. Create one with{' '}
          <code>npx device-pipeline token create --name NAME --for ingest</code>.
        </p>
      )}
      <h3>One event</h3>
      <Command text={curl} />
      <h3>Or send random events to explore</h3>
      <Command text={`npx device-pipeline feed ${address}`} />
      <p class="waiting" role="status">
        <span class="dot" aria-hidden="true" />
        Waiting for the first batch …
      </p>
    </section>
  );
}

function Command({ text }: { text: string }) {
  const [said, setSaid] = useState('Copy');
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setSaid('Copied');
    } catch {
      // Without HTTPS, pages cannot use the clipboard.
      setSaid('Select the text and copy it');
    }
  };
  return (
    <div class="command">
      <pre tabIndex={0}>
        <code>{text}</code>
      </pre>
      <button type="button" onClick={() => void copy()} aria-live="polite">
        {said}
      </button>
    </div>
  );
}
