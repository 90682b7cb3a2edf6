// The bar of an editor window: runs in the main frame before the page's own scripts. It waits for ComfyUI's `app`, loads
// the node's workflow, watches for changes and sends saves. The window around the page hears it alone: every message bears
// a token that only this script was given. The window calls it by `window["comfyui-orchestrator"]`.
(settings) => {
  "use strict";
  // WebView2 puts it into frames, too.
  if (location.origin !== settings.origin || window !== window.top) return;
  // Taken before any script of the page can put something in their place. The token never is a value of an object that
  // somebody else's `toJSON` could see.
  const channel = window.webkit?.messageHandlers?.ipc ?? window.chrome?.webview ?? window.ipc;
  const own_post = channel.postMessage.bind(channel);
  const to_json = JSON.stringify;
  const post = (message) => own_post(`{"token":"${settings.token}","message":${to_json(message)}}`);

  // How long the frontend may take to come up. A cold start with many custom nodes takes tens of seconds.
  const READY_TIMEOUT_MS = 120_000;
  // After this long without anything of ComfyUI the backend is asked whether this is a page at all.
  const MISSING_MS = 2_000;
  // Changes are looked for this long after the last key, click or drop.
  const CHANGE_DELAY_MS = 600;
  // After loading, custom nodes still settle sizes and widgets; what they do then is not the person's change.
  const SETTLE_MS = 700;
  // How long a frontend may take to go to the tab of what was loaded.
  const TAB_MS = 5_000;
  // How long a greeting dialog is waited for. On a loaded machine it comes minutes after the rest of the page.
  const GREETING_MS = 600_000;
  // Where the frontend keeps the graph that was open last.
  const LAST_GRAPH = "workflow";
  const EMPTY_GRAPH = '{"last_node_id":0,"last_link_id":0,"nodes":[],"links":[],"groups":[],"config":{},"extra":{},"version":0.4}';
  // Workflows of the node of which the look on the page is remembered: an undo brings one of them back.
  const MAX_KNOWN = 8;
  // Where the names of the tabs are kept that this script opened.
  const OWN_TABS = "comfyui-orchestrator.tabs";
  const MAX_OWN_TABS = 50;

  let node = null; // the workflow that the node has, as the last `load` or `node_workflow` gave it
  let baseline = null; // what it looks like on the page; text is undefined while that is not known
  let known = new Map(); // workflows that were shown here, by their JSON, and what they looked like
  let tab = null; // ComfyUI's tab of the node's workflow
  let sent = new Map(); // what was sent to be kept on the node and is not decided yet, by the number of the save
  let last_save = Date.now(); // numbers go on where those of a page before this one ended
  let is_changed = false;
  let is_loading = false;
  let told = null; // the content that the app was told last
  let last_graph = null; // the graph as it was last seen with changes
  let question = null; // which question is open: "draft", "closing" or "revert"
  let closes_after = null; // the number of the save after which the window closes
  let look = {}; // the name and the colours that came after the page: newer than those of its `load`
  let later = null; // a workflow of the node that came while the page was not ready for it
  let change_timer = 0;

  const sleep = (time_ms) => new Promise((resolve) => setTimeout(resolve, time_ms));
  const root_graph = () => window.app.rootGraph ?? window.app.graph;
  const tabs = () => window.app?.extensionManager?.workflow;

  // Without a graph of last time the frontend greets with a gallery of templates, some time after the page came up.
  try { localStorage[LAST_GRAPH] ??= EMPTY_GRAPH; } catch { /* Without storage the greeting is closed when it comes. */ }

  // What the person made: everything but where they looked from.
  const content = () => {
    const graph = root_graph().serialize();
    return { graph, text: to_json(graph, (key, value) => (key === "ds" ? undefined : value)) };
  };

  // Whether the page shows the node's workflow, or another tab does, or its tab was closed.
  const is_same_tab = (one, other) => one === other || (one && other && one.path === other.path);
  const place = () => {
    const store = tabs();
    if (!store || !tab || is_same_tab(store.activeWorkflow, tab)) return "own";
    return store.openWorkflows?.some((open) => is_same_tab(open, tab)) ? "other" : "closed";
  };

  const is_ready = () => {
    const app = window.app;
    if (!app?.graph || typeof app.loadGraphData !== "function" || typeof app.graphToPrompt !== "function") return false;
    // The frontend restores what was open last; loading before that would be overwritten.
    const store = tabs();
    return store ? Boolean(store.activeWorkflow) : true;
  };

  const wait_until_ready = async () => {
    const start_ms = performance.now();
    let is_asked = false;
    while (!is_ready()) {
      // Nothing of ComfyUI came with the page: is it one?
      if (!is_asked && !window.app && performance.now() - start_ms > MISSING_MS) {
        is_asked = true;
        const answer = await fetch(location.href, { method: "HEAD", cache: "no-store" }).catch(() => null);
        if ([404, 405, 410, 501].includes(answer?.status)) {
          throw new Error(`this backend has no editor: its page answers ${answer.status}`);
        }
      }
      if (performance.now() - start_ms > READY_TIMEOUT_MS) {
        throw new Error("ComfyUI's editor did not come up on this page");
      }
      await sleep(100);
    }
    await sleep(200);
  };

  // The tabs that this script opened in this or an earlier window of the backend.
  const own_tabs = () => {
    try { return JSON.parse(localStorage.getItem(OWN_TABS)) ?? []; } catch { return []; }
  };
  const remember_tab = () => {
    if (!tab?.key) return;
    try {
      const names = own_tabs().filter((name) => name !== tab.key);
      localStorage.setItem(OWN_TABS, to_json([...names, tab.key].slice(-MAX_OWN_TABS)));
    } catch { /* Without storage a tab of the last window stays open. */ }
  };
  const close_tab = async (other) => {
    const store = tabs();
    if (!other || typeof store?.closeWorkflow !== "function" || is_same_tab(other, store.activeWorkflow)) return;
    try { await store.closeWorkflow(other); } catch { /* It stays open, which harms nothing. */ }
  };
  // The frontend restores the tab that was open last, often that of a node.
  const restored_tabs = () => {
    const names = own_tabs();
    return (tabs()?.openWorkflows ?? []).filter((open) => open?.isTemporary && names.includes(open.key));
  };
  // A workflow of this name that is saved on the backend is another one, and must not become the node's tab.
  const tab_name = (title) => {
    const name = title.replaceAll("/", "_");
    return tabs()?.getWorkflowByPath?.(`workflows/${name}.json`)?.isPersisted ? `${name} (node)` : name;
  };

  // The tab of what was just loaded. Some ways of loading go to it only after they say that they are done.
  const tab_after = async (before) => {
    const start_ms = performance.now();
    while (before && is_same_tab(tabs().activeWorkflow, before) && performance.now() - start_ms < TAB_MS) await sleep(50);
    return tabs()?.activeWorkflow ?? null;
  };

  const show = async (form, graph) => {
    is_loading = true;
    try {
      const before = tabs()?.activeWorkflow;
      const own = tab && tabs()?.openWorkflows?.some((open) => is_same_tab(open, tab)) ? tab : null;
      if (form === "api") {
        await window.app.loadApiJson(graph, tab_name(node.name));
        const made = await tab_after(before);
        if (own && made && !is_same_tab(own, made)) {
          await window.app.loadGraphData(root_graph().serialize(), true, true, own);
          await close_tab(made);
        }
      } else {
        await window.app.loadGraphData(graph, true, true, own ?? tab_name(node.name));
      }
      await sleep(SETTLE_MS);
      tab = own ?? await tab_after(before);
      remember_tab();
    } finally {
      is_loading = false;
    }
  };

  const know = (graph, text) => {
    const key = to_json(graph);
    known.delete(key);
    known.set(key, text);
    if (known.size > MAX_KNOWN) known.delete(known.keys().next().value);
  };

  const show_node = async () => {
    await show(node.form, node.graph);
    baseline = content().text;
    know(node.graph, baseline);
    mark(false, null);
  };

  // Back to the tab of the node's workflow, as a click on it would.
  const show_own_tab = async () => {
    if (place() === "other") await show("ui", tab.activeState ?? last_graph ?? node.graph);
    else if (place() === "closed") await (last_graph ? show("ui", last_graph) : show_node());
    look_for_change();
  };

  // A greeting that comes all the same is closed like a person would, until the person does something.
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

  const mark = (changed, now) => {
    is_changed = changed;
    bar.mark();
    const text = changed ? now.text : null;
    if (!changed) last_graph = null;
    else last_graph = now.graph;
    if (text === told) return;
    told = text;
    post({ changed: { draft: changed ? now.graph : null } });
  };

  const look_for_change = () => {
    if (baseline === null || is_loading || question === "draft") return;
    bar.mark();
    if (place() !== "own") return;
    const now = content();
    if (now.text !== baseline) mark(true, now);
    else if (is_changed) mark(false, null);
  };

  const touched = () => {
    clearTimeout(change_timer);
    change_timer = setTimeout(look_for_change, CHANGE_DELAY_MS);
  };

  // Gives the number of the save; null when nothing was sent.
  const save = async (target) => {
    if (baseline === null || is_loading || question === "draft") return null;
    if (place() !== "own") {
      bar.keep(`Not saved: the tab "${node.name}" is not shown`);
      return null;
    }
    bar.keep("Saving…");
    look_for_change();
    try {
      // Taken before the prompt is made: older frontends write what `{a|b}` was drawn to into the graph they are given.
      const { graph } = content();
      const { output } = await window.app.graphToPrompt();
      if (place() !== "own") throw new Error("another tab was opened meanwhile");
      // Taken after it: making a prompt numbers the nodes anew, which is no change of the person's.
      const { text } = content();
      last_save += 1;
      post({ save: { number: last_save, target, workflow: graph, prompt: output } });
      if (target === "node") sent.set(last_save, { graph, text });
      return last_save;
    } catch (error) {
      bar.keep(`Not saved: ComfyUI cannot make a prompt of it: ${error?.message ?? error}`);
      return null;
    }
  };

  const may_close = (draft) => post({ may_close: { draft } });

  const ask_about_closing = () => {
    post("asking");
    ask("closing", "Save the changes before closing?", [
      ["Save to node", async () => {
        if (place() !== "own") await show_own_tab();
        closes_after = await save("node");
        if (closes_after === null) post("stay");
      }],
      ["Throw away", () => may_close("discard")],
      ["Stay", () => post("stay")],
    ]);
  };

  const ask = (kind, text, answers) => {
    question = kind;
    bar.ask(text, answers.map(([name, act]) => [name, () => { question = null; void act(); }]));
  };

  const commands = {
    load: async (command) => {
      node = command;
      try {
        await wait_until_ready();
        bar.dress({ ...command, ...look });
        void close_greeting();
        const restored = restored_tabs();
        tab = restored.find((open) => open.key === `${tab_name(node.name)}.json`) ?? null;
        await show(node.form, node.graph);
        for (const other of restored) await close_tab(other);
        baseline = content().text;
        know(node.graph, baseline);
        post("loaded");
        bar.mark();
        window.app.api?.addEventListener?.("graphChanged", touched);
        if (command.draft) {
          ask("draft", "Changes that were made here before are not saved.", [
            // The node may have got them meanwhile, or another workflow: then nobody's work is on the page.
            ["Bring them back", async () => {
              if (to_json(command.draft) === to_json(node.graph)) { await show_node(); return; }
              await show("ui", command.draft);
              look_for_change();
            }],
            ["Throw them away", async () => {
              post({ changed: { draft: null } });
              if (content().text !== baseline) await show_node();
            }],
          ]);
        }
        if (later) { const next = later; later = null; await commands.node_workflow(next); }
      } catch (error) {
        if (document.body) bar.dress({ ...command, ...look });
        const text = String(error?.message ?? error).slice(0, 500);
        bar.keep(text);
        post({ load_failed: { text } });
      }
    },
    node_workflow: async ({ form, graph }) => {
      if (baseline === null) { later = { form, graph }; return; }
      while (is_loading) await sleep(100);
      if (to_json(graph) === to_json(node.graph)) return;
      node = { ...node, form, graph };
      // Nobody's work is on the page: it follows the node.
      if (!is_changed && question === null && place() === "own") await show_node();
      else {
        baseline = known.get(to_json(graph));
        look_for_change();
      }
      bar.say("The node has another workflow now");
    },
    save_answer: ({ number, state, text }) => {
      const kept = sent.get(number);
      // A save that could not be read has no number: of none is it known any more that it is kept.
      if (number === null) sent.clear();
      else if (state !== "in_review") sent.delete(number);
      if (state === "in_review") bar.keep("Look at the changes in the app");
      else if (state === "refused") bar.keep(text);
      else {
        if (kept) {
          baseline = kept.text;
          node = { ...node, form: "ui", graph: kept.graph };
          know(kept.graph, kept.text);
        }
        bar.say("Saved");
        look_for_change();
      }
      if (closes_after === null || (number !== null && number !== closes_after)) return;
      closes_after = null;
      // Until the person has answered in the app, what was saved is kept there.
      if (state === "refused") post("stay");
      else may_close("keep");
    },
    close: () => {
      // Nothing is known of what is to become of the changes: they are kept.
      if (baseline === null || question === "draft") { may_close("keep"); return; }
      look_for_change();
      if (sent.size > 0 && place() === "own") {
        const { text } = content();
        if ([...sent.values()].some((save) => save.text === text)) { may_close("keep"); return; }
      }
      if (!is_changed) { may_close("discard"); return; }
      if (question === "closing") { post("asking"); return; }
      ask_about_closing();
    },
    notice: ({ text }) => bar.say(text),
    appearance: ({ dark }) => {
      look.dark = dark;
      bar.colour(dark);
    },
    node_title: ({ name }) => {
      look.name = name;
      bar.name(name);
    },
  };

  Object.defineProperty(window, "comfyui-orchestrator", {
    value: (command) => { void commands[command?.type]?.(command); },
  });

  for (const event of ["pointerup", "keyup", "drop", "paste", "change", "wheel"]) {
    window.addEventListener(event, touched, { capture: true, passive: true });
  }
  window.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "s") {
      event.preventDefault();
      event.stopImmediatePropagation();
      void save("node");
    } else if (event.key === "F5" && event.isTrusted) {
      // The web views of Linux and macOS have no key of their own for it.
      event.preventDefault();
      event.stopImmediatePropagation();
      // What was changed a moment ago is told first. A page that cannot be asked any more is loaded anew all the same.
      clearTimeout(change_timer);
      try { look_for_change(); } finally { location.reload(); }
    }
  }, { capture: true });

  const bar = (() => {
    const host = document.createElement("div");
    host.style.cssText = "position:fixed;left:0;right:0;bottom:14px;z-index:2147483647;pointer-events:none;display:flex;justify-content:center";
    const root = host.attachShadow({ mode: "closed" });
    const DARK = "--back:#1c2028f2;--line:#39404d;--text:#e8eaee;--quiet:#9aa3b2;--accent:#7aa2ff;--on-accent:#0f1115;--mark:#f2b84b";
    const LIGHT = "--back:#fffffff2;--line:#c9ced8;--text:#1d2129;--quiet:#596273;--accent:#2b5bd7;--on-accent:#fff;--mark:#a86400";
    const colours = document.createElement("style");
    const colour = (dark) => { colours.textContent = `.bar, .ask { ${dark ? DARK : LIGHT} }`; };
    const style = document.createElement("style");
    style.textContent = `
      .bar, .ask { pointer-events:auto; font:13px/1.3 system-ui, sans-serif; color:var(--text);
        background:var(--back); border:1px solid var(--line); border-radius:10px; box-shadow:0 6px 24px #0006;
        display:flex; align-items:center; gap:8px; padding:6px 8px 6px 12px; max-width:94vw }
      .ask { position:fixed; inset:0; margin:auto; width:max-content; height:max-content; padding:18px 20px; gap:14px; flex-direction:column; font-size:14px }
      .ask div { display:flex; gap:8px }
      .veil { position:fixed; inset:0; background:#0008; pointer-events:auto }
      .title { font-weight:600; max-width:24ch; overflow:hidden; text-overflow:ellipsis; white-space:nowrap }
      .state { color:var(--quiet); min-width:9ch; max-width:56ch; overflow-wrap:anywhere; max-height:4em; overflow:auto }
      .state.changed { color:var(--mark) }
      button { font:inherit; color:var(--text); background:transparent; border:1px solid var(--line); border-radius:7px; padding:4px 10px; cursor:pointer; white-space:nowrap }
      button:hover, button:focus-visible { border-color:var(--accent); outline:none }
      /* Above the frontend's own controls at the lower right, where both do not fit side by side. */
      @media (max-width: 1060px) { .bar { margin-bottom:58px } }
      button.main { background:var(--accent); border-color:var(--accent); color:var(--on-accent) }
      [hidden] { display:none }`;
    root.append(colours, style);
    const element = (name, properties = {}, ...children) => {
      const made = Object.assign(document.createElement(name), properties);
      made.append(...children);
      return made;
    };
    // Only a person's click counts.
    const button = (text, title, main, act) => element("button", {
      textContent: text, title, className: main ? "main" : "", onclick: (event) => { if (event.isTrusted) void act(); },
    });
    const state = element("span", { className: "state", role: "status", textContent: "Opening…" });
    const back = button("Show it", "Back to the tab of the node's workflow", true, () => show_own_tab());
    const to_node = button("Save to node", "Ctrl+S", true, () => save("node"));
    const as_new = button("Save as new", "Keeps it as a new workflow of the project", false, () => save("new_workflow"));
    const revert = button("Revert", "Back to the workflow that the node has now", false, () => {
      if (baseline === null || question !== null) return;
      if (!is_changed) { void show_node(); return; }
      ask("revert", "Go back to the workflow of the node? What was changed here is thrown away.", [
        ["Go back", () => show_node()],
        ["Stay", () => {}],
      ]);
    });
    back.hidden = true;
    const title = element("span", { className: "title" });
    const name = (text) => { title.textContent = title.title = text; };
    root.append(element("div", { className: "bar", role: "toolbar", ariaLabel: "Save to the node" }, title, state,
      back, to_node, as_new, revert));
    let said = 0; // the timer of a sentence that goes by itself
    let kept = null; // a sentence that stays until the next one, or until something is changed after it
    let kept_at = null;
    const words = () => {
      switch (place()) {
        case "other": return is_changed ? "● Another tab is shown; this one is changed" : "Another tab is shown";
        case "closed": return is_changed ? "● Its tab was closed; it is changed" : "Its tab was closed";
        default: return is_changed ? "● Changed" : "No changes";
      }
    };
    const draw = () => {
      const is_own = place() === "own";
      back.hidden = is_own;
      to_node.hidden = as_new.hidden = !is_own;
      state.classList.toggle("changed", is_changed);
      if (kept !== null && kept_at !== null && told !== kept_at) kept = null;
      if (!said) state.textContent = kept ?? (baseline === null ? "Opening…" : words());
      state.title = state.textContent;
    };
    return {
      // Shows the bar, in the name and the colours of the window.
      dress: (look) => {
        name(look.name);
        colour(look.dark);
        document.body.append(host);
      },
      name,
      colour,
      mark: draw,
      say: (text) => {
        clearTimeout(said);
        kept = null;
        state.textContent = text;
        state.title = text;
        said = setTimeout(() => { said = 0; draw(); }, 8000);
      },
      keep: (text) => {
        clearTimeout(said);
        said = 0;
        kept = text;
        kept_at = null;
        draw();
        // What is changed from now on is something else than the sentence is about.
        setTimeout(() => { if (kept === text) kept_at = told; }, 2 * CHANGE_DELAY_MS);
      },
      ask: (text, answers) => {
        const veil = element("div", { className: "veil" });
        const box = element("div", { className: "ask", role: "dialog", ariaLabel: text }, element("span", { textContent: text }));
        const row = element("div");
        answers.forEach(([name, act], index) =>
          row.append(button(name, "", index === 0, () => { veil.remove(); box.remove(); act(); })));
        box.append(row);
        root.append(veil, box);
        row.firstChild.focus();
      },
    };
  })();
}
