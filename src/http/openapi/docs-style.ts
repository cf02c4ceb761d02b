/** The style of `/docs`. The page's content security policy contains its hash. */
export const docsStyle = `
:root { color-scheme: light dark; --text: #1a1f36; --soft: #566077; --line: #e3e8ee; --side: #f7f9fb; --page: #fff; --code: #f4f6f9; --link: #4638c9; --get: #0b6b50; --post: #3a4fd0; --bad: #b3261e; --mark: #eef0fd; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8f1; --soft: #a3adc2; --line: #2a3040; --side: #141822; --page: #0f121a; --code: #191e2a; --link: #a9b4ff; --get: #58cfa5; --post: #9db0ff; --bad: #ff9d94; --mark: #202747; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; scroll-behavior: smooth; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0; font: 15px/1.6 system-ui, sans-serif; color: var(--text); background: var(--page); display: grid; grid-template-columns: 16.5rem minmax(0, 1fr); }
a { color: var(--link); text-underline-offset: .15em; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; border-radius: 3px; }
.skip { position: absolute; left: -99rem; } .skip:focus { left: 1rem; top: 1rem; background: var(--page); padding: .5rem 1rem; z-index: 1; }
.side { position: sticky; top: 0; height: 100vh; overflow-y: auto; padding: 1.5rem 1rem 2rem 1.25rem; background: var(--side); border-right: 1px solid var(--line); font-size: 14px; }
.side .name { font-weight: 650; font-size: 1rem; margin: 0 0 1rem; } .side .name span { color: var(--soft); font-weight: 400; }
.side h2 { font-size: .75rem; margin: 1.1rem 0 .2rem; color: var(--soft); text-transform: uppercase; letter-spacing: .05em; }
.side ul { list-style: none; margin: 0; padding: 0; } .side li a { display: block; padding: .2rem .4rem; margin-left: -.4rem; border-radius: 5px; color: inherit; text-decoration: none; overflow-wrap: anywhere; }
.side li a:hover { background: var(--mark); }
main { padding: 2.5rem 3rem 5rem; max-width: 84rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.015em; }
h2 { font-size: 1.45rem; line-height: 1.25; margin: 0 0 .6rem; letter-spacing: -.01em; }
h3 { font-size: 1.15rem; margin: 0 0 .5rem; } h4 { font-size: .95rem; margin: 1.6rem 0 .4rem; } h5 { font-size: .85rem; margin: .2rem 0 .35rem; color: var(--soft); font-weight: 550; }
h2 a, h3 a { color: inherit; text-decoration: none; } h2 a:hover::after, h3 a:hover::after { content: ' #'; color: var(--soft); }
p { margin: 0 0 .75rem; max-width: 44rem; } .lead { font-size: 1.1rem; color: var(--soft); }
main > section { border-top: 1px solid var(--line); padding-top: 2.25rem; margin-top: 2.75rem; }
.operation { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 28rem); gap: 0 2.5rem; padding: 1.5rem 0 2.5rem; border-top: 1px solid var(--line); }
.operation > * { min-width: 0; } .samples { position: sticky; top: 1rem; align-self: start; max-height: calc(100vh - 2rem); overflow-y: auto; }
.line { display: flex; flex-wrap: wrap; gap: .35rem .7rem; align-items: baseline; font-family: ui-monospace, monospace; font-size: .95rem; margin: 0 0 .8rem; overflow-wrap: anywhere; }
.method { font-weight: 700; color: var(--get); } .method.post { color: var(--post); }
code { font: .875em ui-monospace, monospace; background: var(--code); padding: .1em .3em; border-radius: 4px; overflow-wrap: anywhere; }
pre { margin: 0 0 1rem; padding: .8rem .9rem; background: var(--code); border: 1px solid var(--line); border-radius: 8px; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px; line-height: 1.5; } pre code { background: none; padding: 0; font-size: inherit; overflow-wrap: normal; }
dl { margin: 0; } dt { border-top: 1px solid var(--line); padding-top: .6rem; } dd { margin: .15rem 0 .6rem; color: var(--soft); } dl p { margin: 0; }
dt code, td:first-child code { font-weight: 600; color: var(--text); } td:first-child code { white-space: nowrap; } section > dl { margin-bottom: 2rem; } dt span { color: var(--soft); font-size: .85rem; } dt .must { color: var(--bad); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; margin-bottom: 1rem; } th, td { text-align: left; vertical-align: top; padding: .5rem .9rem .5rem 0; border-bottom: 1px solid var(--line); } th { font-size: .8rem; color: var(--soft); font-weight: 550; } td { font-size: .92rem; }
.status { white-space: nowrap; font-variant-numeric: tabular-nums; font-weight: 600; } .good { color: var(--get); } .bad { color: var(--bad); }
.promise { background: var(--mark); border-radius: 8px; padding: .8rem 1rem .1rem; margin-bottom: 1rem; max-width: 46rem; }
@media (max-width: 70rem) { .operation { grid-template-columns: minmax(0, 1fr); } .samples { position: static; max-height: none; margin-top: 1.25rem; } }
@media (max-width: 48rem) {
  body { display: block; } .side { position: static; height: auto; border-right: 0; border-bottom: 1px solid var(--line); padding: 1rem; } .side ul { display: flex; flex-wrap: wrap; gap: 0 .9rem; } .side li a { margin: 0; padding: .25rem 0; } .side h2 { margin-top: .6rem; }
  main { padding: 1.5rem 1rem 3rem; } h1 { font-size: 1.6rem; } tr { display: block; border-bottom: 1px solid var(--line); padding: .5rem 0; } td { display: block; border: 0; padding: .1rem 0; } thead { position: absolute; left: -99rem; }
}
`;
