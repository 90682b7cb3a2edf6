// The bar of an editor window: runs in the main frame before the page's own scripts. It waits for ComfyUI's `app`, loads
// the node's workflow, watches for changes and sends saves. It talks to the window around the page alone, by
// `window.ipc`, and every message bears the token that only the main frame was given.
(settings) => {
  "use strict";
  if (location.origin !== settings.origin) return;
  const own_post = window.ipc.postMessage.bind(window.ipc);
  const to_json = JSON.stringify;
  const post = (message) => own_post(to_json({ token: settings.token, message }));

  // How long the frontend may take to come up. A cold start with many custom nodes takes tens of seconds.
  const READY_TIMEOUT_MS = 120_000;
  // Changes are looked for this long after the last key, click or drop.
  const CHANGE_DELAY_MS = 600;
  // After loading, custom nodes still settle sizes and widgets; what they do then is not the person's change.
  const SETTLE_MS = 700;
  // How long a greeting dialog is waited for.
  const GREETING_MS = 60_000;

  let baseline = null; // the graph as loaded or last kept, without the view
  let sent = null; // the graph as last sent to be kept, and its content
  let is_changed = false;
  let is_loading = false;
  let opened = null; // what the node has, for Revert
  let change_timer = 0;
  let is_leaving = false; // whether the window closes when the app has taken the save
  let tab = null; // the frontend's own record of what was opened

  const sleep = (time_ms) => new Promise((resolve) => setTimeout(resolve, time_ms));
  const root_graph = () => window.app.rootGraph ?? window.app.graph;

  // What the person made: everything but where they looked from.
  const content = () => {
    const graph = root_graph().serialize();
    return { graph, text: to_json(graph, (key, value) => (key === "ds" ? undefined : value)) };
  };

  const is_ready = () => {
    const app = window.app;
    if (!app?.graph || typeof app.loadGraphData !== "function" || typeof app.graphToPrompt !== "function") return false;
    // The frontend restores what was open last; loading before that would be overwritten.
    const store = app.extensionManager?.workflow;
    return store ? Boolean(store.activeWorkflow) : true;
  };

  const wait_until_ready = async () => {
    const start_ms = performance.now();
    while (!is_ready()) {
      if (performance.now() - start_ms > READY_TIMEOUT_MS) {
        throw new Error("ComfyUI's editor did not come up on this page");
      }
      await sleep(100);
    }
    await sleep(200);
  };

  const show = async (form, graph, name) => {
    is_loading = true;
    try {
      // Again in the same tab, where the frontend has tabs.
      if (form === "api") await window.app.loadApiJson(graph, name);
      else await window.app.loadGraphData(graph, true, true, tab ?? name);
      tab = window.app.extensionManager?.workflow?.activeWorkflow ?? null;
      await sleep(SETTLE_MS);
    } finally {
      is_loading = false;
    }
  };

  // On a first start the frontend opens a gallery of templates over the graph, some seconds after it came up. It is
  // closed like a person would, until the person does something.
  const close_greeting = async () => {
    let is_over = false;
    for (const event of ["pointerdown", "keydown"]) {
      window.addEventListener(event, (input) => { if (input.isTrusted) is_over = true; }, { capture: true, passive: true });
    }
    const start_ms = performance.now();
    while (!is_over && performance.now() - start_ms < GREETING_MS) {
      if (document.querySelector(".p-dialog-mask")) {
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", code: "Escape", bubbles: true }));
      }
      await sleep(250);
    }
  };

  const mark = (changed, graph) => {
    is_changed = changed;
    bar.mark(changed);
    post({ changed: { draft: changed ? graph : null } });
  };

  const look_for_change = () => {
    if (baseline === null || is_loading) return;
    const now = content();
    if (now.text !== baseline) mark(true, now.graph);
    else if (is_changed) mark(false, null);
  };

  const touched = () => {
    clearTimeout(change_timer);
    change_timer = setTimeout(look_for_change, CHANGE_DELAY_MS);
  };

  // Gives whether it was sent.
  const save = async (target) => {
    if (baseline === null) return false;
    bar.say("Saving…");
    look_for_change();
    try {
      // Taken before the prompt is made: older frontends write what `{a|b}` was drawn to into the graph they are given.
      const { graph } = content();
      const { output } = await window.app.graphToPrompt();
      // Taken after it: making a prompt numbers the nodes anew, which is no change of the person's.
      sent = target === "node" ? { graph, text: content().text } : null;
      post({ save: { target, workflow: graph, prompt: output } });
      return true;
    } catch (error) {
      bar.say(`Could not be converted: ${error?.message ?? error}`);
      return false;
    }
  };

  const commands = {
    load: async (command) => {
      opened = command;
      try {
        await wait_until_ready();
        bar.attach();
        void close_greeting();
        await show(command.form, command.graph, command.name);
        baseline = content().text;
        post("loaded");
        if (command.draft) {
          bar.ask("Changes that were made here before are not saved.", [
            ["Bring them back", async () => { await show("ui", command.draft, command.name); look_for_change(); }],
            ["Throw them away", () => post({ changed: { draft: null } })],
          ]);
        }
      } catch (error) {
        post({ load_failed: { text: String(error?.message ?? error).slice(0, 500) } });
      }
    },
    save_answer: ({ state, text }) => {
      if (state === "in_review") bar.say("Look at the changes in the app");
      else if (state === "refused") { sent = null; bar.say(text); }
      else {
        if (sent !== null) {
          baseline = sent.text;
          opened = { ...opened, form: "ui", graph: sent.graph };
          sent = null;
        }
        bar.say("Saved");
        look_for_change();
      }
      if (is_leaving) {
        is_leaving = false;
        post(state === "refused" ? "stay" : "may_close");
      }
    },
    close: () => {
      look_for_change();
      if (!is_changed) { post("may_close"); return; }
      post("asking");
      bar.ask("Save the changes before closing?", [
        ["Save to node", async () => {
          is_leaving = await save("node");
          if (!is_leaving) post("stay");
        }],
        ["Throw away", () => post("may_close")],
        ["Stay", () => post("stay")],
      ]);
    },
  };

  Object.defineProperty(window, Symbol.for(`orchestrator-${settings.token}`), {
    value: (command) => commands[command?.type]?.(command),
  });

  for (const event of ["pointerup", "keyup", "drop", "paste", "change", "wheel"]) {
    window.addEventListener(event, touched, { capture: true, passive: true });
  }
  window.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "s") {
      event.preventDefault();
      event.stopImmediatePropagation();
      void save("node");
    }
  }, { capture: true });

  const bar = (() => {
    const host = document.createElement("div");
    host.style.cssText = "position:fixed;left:0;right:0;bottom:14px;z-index:2147483647;pointer-events:none;display:flex;justify-content:center";
    const root = host.attachShadow({ mode: "closed" });
    const colours = settings.dark
      ? "--back:#1c2028f2;--line:#39404d;--text:#e8eaee;--quiet:#9aa3b2;--accent:#5b8def;--on-accent:#fff;--mark:#f2b84b"
      : "--back:#fffffff2;--line:#c9ced8;--text:#1d2129;--quiet:#596273;--accent:#2f62c9;--on-accent:#fff;--mark:#a86400";
    const style = document.createElement("style");
    style.textContent = `
      .bar, .ask { ${colours}; pointer-events:auto; font:13px/1.3 system-ui, sans-serif; color:var(--text);
        background:var(--back); border:1px solid var(--line); border-radius:10px; box-shadow:0 6px 24px #0006;
        display:flex; align-items:center; gap:8px; padding:6px 8px 6px 12px; max-width:90vw }
      .ask { position:fixed; inset:0; margin:auto; width:max-content; height:max-content; padding:18px 20px; gap:14px; flex-direction:column; font-size:14px }
      .ask div { display:flex; gap:8px }
      .veil { position:fixed; inset:0; background:#0008; pointer-events:auto }
      .title { font-weight:600; max-width:24ch; overflow:hidden; text-overflow:ellipsis; white-space:nowrap }
      .state { color:var(--quiet); min-width:9ch; max-width:44ch; overflow:hidden; text-overflow:ellipsis; white-space:nowrap }
      .state.changed { color:var(--mark) }
      button { font:inherit; color:var(--text); background:transparent; border:1px solid var(--line); border-radius:7px; padding:4px 10px; cursor:pointer }
      button:hover, button:focus-visible { border-color:var(--accent); outline:none }
      button.main { background:var(--accent); border-color:var(--accent); color:var(--on-accent) }`;
    root.append(style);
    const element = (name, properties = {}, ...children) => {
      const made = Object.assign(document.createElement(name), properties);
      made.append(...children);
      return made;
    };
    const button = (text, title, main, act) => element("button", { textContent: text, title, className: main ? "main" : "", onclick: act });
    const state = element("span", { className: "state", textContent: "No changes" });
    root.append(element("div", { className: "bar", role: "toolbar", ariaLabel: "Save to the node" },
      element("span", { className: "title", textContent: settings.node_title, title: settings.node_title }),
      state,
      button("Save to node", "Ctrl+S", true, () => save("node")),
      button("Save as new", "Keeps it as a new workflow of the project", false, () => save("new_workflow")),
      button("Revert", "Back to the workflow of the node", false, async () => {
        if (!opened) return;
        await show(opened.form, opened.graph, opened.name);
        baseline = content().text;
        mark(false, null);
      })));
    let said = 0;
    const words = () => (is_changed ? "● Changed" : "No changes");
    return {
      attach: () => document.body.append(host),
      mark: (changed) => { state.classList.toggle("changed", changed); if (!said) state.textContent = words(); },
      say: (text) => {
        clearTimeout(said);
        state.textContent = text;
        state.title = text;
        said = setTimeout(() => { said = 0; state.textContent = words(); }, 6000);
      },
      ask: (question, answers) => {
        const veil = element("div", { className: "veil" });
        const box = element("div", { className: "ask", role: "dialog", ariaLabel: question }, element("span", { textContent: question }));
        const row = element("div");
        answers.forEach(([text, act], index) =>
          row.append(button(text, "", index === 0, () => { veil.remove(); box.remove(); void act(); })));
        box.append(row);
        root.append(veil, box);
        row.firstChild.focus();
      },
    };
  })();
}
