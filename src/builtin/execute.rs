//! The worker thread: runs prompts one after another and tells of it in ComfyUI's order of messages.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Value, json};

use super::{
    cache::{Cache, CacheEntry, Shown, as_link, class_of, inputs_of},
    clock,
    host::{Host, lock},
    node::{Datum, NodeFailure, NodeOutput, NodeRun, OUT_OF_MEMORY},
    picture::ImageBatch,
    queue::{QueuedPrompt, Work},
    sockets::PreviewForm,
};

/// What ComfyUI adds to the message of an exception that tells of missing memory.
const OUT_OF_MEMORY_TIPS: &str = "This error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked before you might have accidentally set the batch_size to a large number.";
/// The quality of preview pictures.
const PREVIEW_JPEG_QUALITY: u8 = 90;

/// The life of the worker thread: until the server ends.
pub fn work(host: &Host) {
    let mut cache = Cache::default();
    loop {
        match host.queue.take(host) {
            Work::Stop => return,
            Work::FreeMemory => {
                cache.clear();
                host.memory_was_freed.store(true, Ordering::SeqCst);
            }
            Work::Prompt(queued) => {
                let begun = Instant::now();
                let mut run = PromptRun::new(&queued);
                if run.execute(host, &mut cache, &queued) == Ending::ServerStops {
                    return;
                }
                host.queue
                    .finish(host, &queued.prompt_id, run.history_entry(&queued));
                if run.client_id.is_some() {
                    let end = json!({ "node": null, "prompt_id": run.prompt_id });
                    run.send(host, "executing", &end);
                }
                host.log(&format!(
                    "Prompt executed in {:.2} seconds",
                    begun.elapsed().as_secs_f64()
                ));
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Success,
    Failure,
    ServerStops,
}

struct NodeProgress {
    value: Value,
    max: Value,
    state: &'static str,
}

/// One run of one prompt: what was told, and what it made.
pub struct PromptRun {
    prompt_id: String,
    client_id: Option<String>,
    progress: IndexMap<String, NodeProgress>,
    messages: Vec<Value>,
    shown: IndexMap<String, Shown>,
    executed: Vec<String>,
    results: HashMap<String, Arc<CacheEntry>>,
    ending: Ending,
}

impl PromptRun {
    fn new(queued: &QueuedPrompt) -> Self {
        Self {
            prompt_id: queued.prompt_id.clone(),
            client_id: queued.client_id(),
            progress: IndexMap::new(),
            messages: Vec::new(),
            shown: IndexMap::new(),
            executed: Vec::new(),
            results: HashMap::new(),
            ending: Ending::Success,
        }
    }

    fn send(&self, host: &Host, event: &str, data: &Value) {
        host.sockets.send(event, data, self.client_id.as_deref());
    }

    /// A message that the history keeps. Without a client id it is sent to nobody, except an interruption.
    fn tell(&mut self, host: &Host, event: &str, mut data: Value) {
        if let Value::Object(members) = &mut data {
            members.insert("timestamp".to_owned(), json!(clock::now_ms()));
        }
        if self.client_id.is_some() || event == "execution_interrupted" {
            self.send(host, event, &data);
        }
        self.messages.push(json!([event, data]));
    }

    fn send_progress_state(&self, host: &Host) {
        if !host.sockets.has_receiver(self.client_id.as_deref()) {
            return;
        }
        let nodes: Map<String, Value> = self
            .progress
            .iter()
            .map(|(node_id, progress)| {
                let state = json!({
                    "value": progress.value,
                    "max": progress.max,
                    "state": progress.state,
                    "node_id": node_id,
                    "prompt_id": self.prompt_id,
                    "display_node_id": node_id,
                    "parent_node_id": null,
                    "real_node_id": node_id,
                });
                (node_id.clone(), state)
            })
            .collect();
        let data = json!({ "prompt_id": self.prompt_id, "nodes": nodes });
        self.send(host, "progress_state", &data);
    }

    fn start_progress(&mut self, host: &Host, node_id: &str) {
        self.progress.insert(
            node_id.to_owned(),
            NodeProgress {
                value: json!(0.0),
                max: json!(1.0),
                state: "running",
            },
        );
        self.send_progress_state(host);
    }

    fn finish_progress(&mut self, host: &Host, node_id: &str) {
        let progress = self
            .progress
            .entry(node_id.to_owned())
            .or_insert_with(|| NodeProgress {
                value: json!(0),
                max: json!(1),
                state: "finished",
            });
        progress.value = progress.max.clone();
        progress.state = "finished";
        self.send_progress_state(host);
    }

    pub(super) fn report_progress(
        &mut self,
        host: &Host,
        node_id: &str,
        value: u32,
        max: u32,
        preview: Option<&ImageBatch>,
    ) {
        let client_id = self.client_id.clone();
        self.progress.insert(
            node_id.to_owned(),
            NodeProgress {
                value: json!(value),
                max: json!(max),
                state: "running",
            },
        );
        self.send_progress_state(host);
        let form = host.sockets.preview_form(client_id.as_deref());
        let picture = preview
            .filter(|_| host.sockets.has_receiver(client_id.as_deref()))
            .and_then(jpeg);
        if let (PreviewForm::WithMetadata, Some(picture)) = (form, &picture) {
            let frame = self.preview_with_metadata(node_id, picture);
            host.sockets.send_binary(frame, client_id.as_deref());
        }
        let data = json!({
            "value": value,
            "max": max,
            "prompt_id": self.prompt_id,
            "node": node_id,
        });
        self.send(host, "progress", &data);
        if let (PreviewForm::Plain, Some(picture)) = (form, &picture) {
            // Event 1, image type 1 (JPEG).
            let mut frame = vec![0, 0, 0, 1, 0, 0, 0, 1];
            frame.extend_from_slice(picture);
            host.sockets.send_binary(frame, client_id.as_deref());
        }
    }

    /// Event 3: length and text of the node id, then the text.
    pub(super) fn send_text(&self, host: &Host, node_id: &str, text: &str) {
        let mut frame = vec![0, 0, 0, 3];
        frame.extend_from_slice(&(node_id.len() as u32).to_be_bytes());
        frame.extend_from_slice(node_id.as_bytes());
        frame.extend_from_slice(text.as_bytes());
        host.sockets.send_binary(frame, self.client_id.as_deref());
    }

    /// Event 4: length and JSON of the metadata, then the picture.
    fn preview_with_metadata(&self, node_id: &str, picture: &[u8]) -> Vec<u8> {
        let metadata = json!({
            "node_id": node_id,
            "prompt_id": self.prompt_id,
            "display_node_id": node_id,
            "parent_node_id": null,
            "real_node_id": node_id,
            "image_type": "image/jpeg",
        })
        .to_string();
        let mut frame = vec![0, 0, 0, 4];
        frame.extend_from_slice(&(metadata.len() as u32).to_be_bytes());
        frame.extend_from_slice(metadata.as_bytes());
        frame.extend_from_slice(picture);
        frame
    }

    fn execute(&mut self, host: &Host, cache: &mut Cache, queued: &QueuedPrompt) -> Ending {
        host.interrupt.store(false, Ordering::SeqCst);
        lock(&host.current).client_id.clone_from(&self.client_id);
        self.tell(
            host,
            "execution_start",
            json!({ "prompt_id": self.prompt_id }),
        );
        cache.begin(host, &queued.prompt);
        let cached: Vec<&String> = queued
            .prompt
            .keys()
            .filter(|node_id| cache.get(node_id).is_some())
            .collect();
        let data = json!({ "nodes": cached, "prompt_id": self.prompt_id });
        self.tell(host, "execution_cached", data);

        let mut order = ExecutionOrder::default();
        for output in &queued.outputs {
            order.add(&queued.prompt, cache, output);
        }
        self.ending = Ending::Success;
        while let Some(node_id) = order.pick(host, &queued.prompt) {
            match self.execute_node(host, cache, queued, &node_id) {
                Ok(()) => order.complete(&node_id),
                Err(NodeFailure::ServerStops) => {
                    self.ending = Ending::ServerStops;
                    break;
                }
                Err(failure) => {
                    self.ending = Ending::Failure;
                    self.tell_failure(host, queued, &node_id, &failure);
                    break;
                }
            }
        }
        if self.ending == Ending::Success {
            let data = json!({ "prompt_id": self.prompt_id });
            self.tell(host, "execution_success", data);
        }
        lock(&host.current).node_id = None;
        self.ending
    }

    fn execute_node(
        &mut self,
        host: &Host,
        cache: &mut Cache,
        queued: &QueuedPrompt,
        node_id: &str,
    ) -> Result<(), NodeFailure> {
        if let Some(entry) = cache.get(node_id).cloned() {
            if self.client_id.is_some() {
                let output = entry.shown.as_ref().map(|shown| &shown.output);
                self.tell_executed(host, node_id, &json!(output));
            }
            if let Some(shown) = &entry.shown {
                self.shown.insert(node_id.to_owned(), shown.clone());
            }
            self.results.insert(node_id.to_owned(), entry);
            self.finish_progress(host, node_id);
            return Ok(());
        }
        self.start_progress(host, node_id);
        if self.client_id.is_some() {
            lock(&host.current).node_id = Some(node_id.to_owned());
            let data = json!({
                "node": node_id,
                "display_node": node_id,
                "prompt_id": self.prompt_id,
            });
            self.send(host, "executing", &data);
        }
        host.check_interrupt()?;
        let output = self.run_code(host, cache, queued, node_id)?;
        let shown = output.ui.map(|ui| Shown {
            meta: json!({
                "node_id": node_id,
                "display_node": node_id,
                "parent_node": null,
                "real_node_id": node_id,
            }),
            output: Value::Object(ui),
        });
        if let Some(shown) = &shown {
            self.shown.insert(node_id.to_owned(), shown.clone());
            if self.client_id.is_some() {
                self.tell_executed(host, node_id, &shown.output);
            }
        }
        let entry = Arc::new(CacheEntry {
            outputs: output.outputs,
            shown,
        });
        cache.set(node_id, &entry);
        self.results.insert(node_id.to_owned(), entry);
        self.finish_progress(host, node_id);
        self.executed.push(node_id.to_owned());
        Ok(())
    }

    fn tell_executed(&self, host: &Host, node_id: &str, output: &Value) {
        let data = json!({
            "node": node_id,
            "display_node": node_id,
            "output": output,
            "prompt_id": self.prompt_id,
        });
        self.send(host, "executed", &data);
    }

    fn run_code(
        &mut self,
        host: &Host,
        cache: &Cache,
        queued: &QueuedPrompt,
        node_id: &str,
    ) -> Result<NodeOutput, NodeFailure> {
        let Some(class) = class_of(host, &queued.prompt, node_id) else {
            return Err(NodeFailure::raised("KeyError", format!("'{node_id}'")));
        };
        let inputs = self.gather_inputs(host, cache, queued, node_id);
        let mut node = NodeRun {
            node_id,
            inputs,
            host,
            prompt: self,
            queued,
            steps_done: 0,
        };
        // A fault in a node's code ends that node, not the server.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let output = (class.run)(&mut node)?;
            if node.steps_done == 0 {
                node.step_delay()?;
            }
            Ok(output)
        }));
        outcome.unwrap_or_else(|_| {
            Err(NodeFailure::raised(
                "SystemError",
                format!("the code of node class {} failed", class.name),
            ))
        })
    }

    fn gather_inputs(
        &self,
        host: &Host,
        cache: &Cache,
        queued: &QueuedPrompt,
        node_id: &str,
    ) -> IndexMap<String, Datum> {
        let (Some(class), Some(given)) = (
            class_of(host, &queued.prompt, node_id),
            inputs_of(&queued.prompt, node_id),
        ) else {
            return IndexMap::new();
        };
        class
            .inputs
            .iter()
            .filter_map(|input| {
                let value = given.get(input.name)?;
                let datum = match as_link(value) {
                    None => Datum::Plain(value.clone()),
                    Some((from, slot)) => {
                        let entry = self.results.get(from).or_else(|| cache.get(from))?;
                        entry.outputs.get(slot)?.clone()
                    }
                };
                Some((input.name.to_owned(), datum))
            })
            .collect()
    }

    fn tell_failure(
        &mut self,
        host: &Host,
        queued: &QueuedPrompt,
        node_id: &str,
        failure: &NodeFailure,
    ) {
        let class = queued
            .prompt
            .get(node_id)
            .and_then(|node| node.get("class_type"))
            .cloned()
            .unwrap_or_default();
        let NodeFailure::Raised {
            exception_type,
            message,
        } = failure
        else {
            let data = json!({
                "prompt_id": self.prompt_id,
                "node_id": node_id,
                "node_type": class,
                "executed": self.executed,
            });
            host.log("Processing interrupted");
            self.tell(host, "execution_interrupted", data);
            return;
        };
        let tips = if *exception_type == OUT_OF_MEMORY {
            OUT_OF_MEMORY_TIPS
        } else {
            ""
        };
        let inputs: Map<String, Value> = inputs_of(&queued.prompt, node_id)
            .into_iter()
            .flatten()
            .map(|(name, value)| {
                let shown = match as_link(value) {
                    None => Datum::Plain(value.clone()).describe(),
                    Some((from, slot)) => self
                        .results
                        .get(from)
                        .and_then(|entry| entry.outputs.get(slot))
                        .map_or(Value::Null, Datum::describe),
                };
                (name.clone(), json!([shown]))
            })
            .collect();
        let all_nodes: Vec<&String> = queued.prompt.keys().collect();
        let data = json!({
            "prompt_id": self.prompt_id,
            "node_id": node_id,
            "node_type": class,
            "executed": self.executed,
            "exception_message": format!("{message}\n{tips}"),
            "exception_type": exception_type,
            "traceback": [format!("  built-in node {class}\n    {exception_type}: {message}\n")],
            "current_inputs": inputs,
            "current_outputs": all_nodes,
        });
        host.log(&format!("!!! Exception during processing !!! {message}"));
        self.tell(host, "execution_error", data);
    }

    fn history_entry(&self, queued: &QueuedPrompt) -> Value {
        let outputs: Map<String, Value> = self
            .shown
            .iter()
            .map(|(node_id, shown)| (node_id.clone(), shown.output.clone()))
            .collect();
        let meta: Map<String, Value> = self
            .shown
            .iter()
            .map(|(node_id, shown)| (node_id.clone(), shown.meta.clone()))
            .collect();
        let completed = self.ending == Ending::Success;
        json!({
            "prompt": queued.item(),
            "outputs": outputs,
            "status": {
                "status_str": if completed { "success" } else { "error" },
                "completed": completed,
                "messages": self.messages,
            },
            "meta": meta,
        })
    }
}

/// The first picture as JPEG.
fn jpeg(batch: &ImageBatch) -> Option<Vec<u8>> {
    let picture = batch.with_channels(3);
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, PREVIEW_JPEG_QUALITY)
        .encode(
            &picture.frame_bytes(0),
            picture.width as u32,
            picture.height as u32,
            image::ExtendedColorType::Rgb8,
        )
        .ok()?;
    Some(bytes)
}

/// Which node runs next: those whose inputs are there, output nodes first, then what leads to one soonest.
#[derive(Default)]
struct ExecutionOrder {
    /// Nodes to run, in the order they were found, with the number of nodes they wait for.
    pending: IndexMap<String, usize>,
    /// Node → the nodes that wait for it.
    blocking: HashMap<String, IndexSet<String>>,
}

impl ExecutionOrder {
    /// Adds an output node and everything it needs that is not cached.
    fn add(&mut self, prompt: &Map<String, Value>, cache: &Cache, output: &str) {
        let mut open = vec![output.to_owned()];
        let mut links = Vec::new();
        while let Some(node_id) = open.pop() {
            if self.pending.contains_key(&node_id) {
                continue;
            }
            self.pending.insert(node_id.clone(), 0);
            for value in inputs_of(prompt, &node_id)
                .into_iter()
                .flat_map(Map::values)
            {
                if let Some((from, _)) = as_link(value)
                    && prompt.contains_key(from)
                    && cache.get(from).is_none()
                {
                    open.push(from.to_owned());
                    links.push((from.to_owned(), node_id.clone()));
                }
            }
        }
        for (from, to) in links {
            if self.blocking.entry(from).or_default().insert(to.clone())
                && let Some(waits_for) = self.pending.get_mut(&to)
            {
                *waits_for += 1;
            }
        }
    }

    fn pick(&self, host: &Host, prompt: &Map<String, Value>) -> Option<String> {
        let is_output =
            |node_id: &str| class_of(host, prompt, node_id).is_some_and(|class| class.output_node);
        let blocked_by = |node_id: &str| {
            self.blocking
                .get(node_id)
                .into_iter()
                .flat_map(|blocked| blocked.iter().map(String::as_str))
        };
        let ready: Vec<&String> = self
            .pending
            .iter()
            .filter(|(_, waits_for)| **waits_for == 0)
            .map(|(node_id, _)| node_id)
            .collect();
        ready
            .iter()
            .find(|node_id| is_output(node_id))
            .or_else(|| {
                ready
                    .iter()
                    .find(|node_id| blocked_by(node_id).any(is_output))
            })
            .or_else(|| {
                ready
                    .iter()
                    .find(|node_id| blocked_by(node_id).any(|next| blocked_by(next).any(is_output)))
            })
            .or(ready.first())
            .map(|node_id| (*node_id).clone())
    }

    fn complete(&mut self, node_id: &str) {
        self.pending.shift_remove(node_id);
        for waiting in self.blocking.remove(node_id).into_iter().flatten() {
            if let Some(waits_for) = self.pending.get_mut(&waiting) {
                *waits_for = waits_for.saturating_sub(1);
            }
        }
    }
}
