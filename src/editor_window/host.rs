//! The window's own process: a tao window with the platform's web view in it.
//!
//! It reads [`ToWindow`] lines from its standard input and answers with [`FromWindow`] lines. It ends when the person
//! closes it, when the app is gone (end of input), or when the page cannot be shown.

mod view;
mod window;

use self::view::make_web_view;
use self::window::Framed;
use comfyui_orchestrator::editor::message::{
    CloseMode, DraftFate, FromWindow, LineError, OpenWindow, PROTOCOL_VERSION, SaveAnswer, Saved,
    ToWindow, read_line, write_line,
};
use comfyui_orchestrator::editor::origin::{NotAPage, PageOrigin};
use comfyui_orchestrator::editor::page::{self, Gate, PageMessage, PageRefusal};
use comfyui_orchestrator::editor::sentence::sentence;
use std::io::{BufReader, Stdout};
use std::time::{Duration, Instant};
use tao::event::{Event, StartCause, WindowEvent};
use tao::event_loop::{ControlFlow, EventLoopBuilder, EventLoopProxy};
use wry::{WebContext, WebView};

/// How long the page may take to answer "close?" before the window closes all the same. The draft is with the app.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);

/// How long a page may take to show the workflow before the app is told that it does not.
const LOAD_PATIENCE: Duration = Duration::from_secs(150);

/// Why a window cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The pipe to the app failed.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The app did not say what to open.
    #[error("the app ended before it said what to open")]
    NothingToOpen,
    /// The app speaks another protocol.
    #[error(
        "the app speaks version {0} of the editor protocol and this window version {PROTOCOL_VERSION}; restart the app"
    )]
    OtherVersion(u32),
    /// The backend's address is no page.
    #[error(transparent)]
    NotAPage(#[from] NotAPage),
    /// There is no display.
    #[error("there is no display: set DISPLAY or WAYLAND_DISPLAY")]
    NoDisplay,
    /// The window could not be made.
    #[error("the window could not be made: {0}")]
    Window(#[from] tao::error::OsError),
    /// The web view could not be made.
    #[error("the system's web view could not be started: {0}{WEB_VIEW_HINT}")]
    WebView(#[from] wry::Error),
    /// A page that cannot be watched is not shown.
    #[cfg(windows)]
    #[error("the system's web view does not tell what its page does: {0}{WEB_VIEW_HINT}")]
    Unwatched(String),
    /// The backend sends its page on to another server.
    #[error(
        "the backend sends its page on to {0}, and this window stays with the backend. If that is a login, give this program \
         a way in of its own (Authentication, in the backend's form): then the page needs no login here"
    )]
    SentElsewhere(String),
    /// The page's own process ends again and again.
    #[error("the page ended {MAX_PAGE_ENDS} times: the web view does not bear this page")]
    PageEnds,
    /// A script could not be written.
    #[error("the workflow could not be given to the page: {0}")]
    Script(#[from] serde_json::Error),
}

/// After this many ends of its own process a page is not loaded again.
const MAX_PAGE_ENDS: usize = 3;

/// What to do where the web view does not start.
const WEB_VIEW_HINT: &str = if cfg!(windows) {
    "; install Microsoft's WebView2 runtime"
} else {
    ""
};

/// What wakes the event loop.
enum HostEvent {
    /// A line of the app.
    FromApp(ToWindow),
    /// The app is gone, or what it sends cannot be read.
    AppGone,
    /// A page sent something.
    FromPage { address: String, body: String },
    /// A page takes the place of the one before, after every redirection and before any frame in it.
    PageCame { address: String },
    /// A page finished loading.
    PageLoaded { address: String },
    /// The process that shows the page ended.
    PageEnded,
    /// The view of the page is gone: the page closed itself, or its whole browser ended.
    #[cfg_attr(
        target_os = "macos",
        expect(
            dead_code,
            reason = "WKWebView leaves both to its owner, and wry does neither"
        )
    )]
    PageClosed,
    /// The page, or a frame of it, wanted to go where it may not.
    WouldLeave { address: String },
    /// The page tried what it may not do.
    Refused(String),
}

/// Runs the window until it is closed. Reports failures to the app before it returns them.
pub fn run(token: String) -> Result<(), HostError> {
    let mut output = std::io::stdout();
    write_line(
        &mut output,
        &FromWindow::Hello {
            version: PROTOCOL_VERSION,
        },
    )?;
    let result = open(token);
    if let Err(error) = &result {
        // When even this fails the app sees the process end.
        let _ = write_line(
            &mut output,
            &FromWindow::Failed {
                text: error.to_string(),
            },
        );
    }
    result
}

fn open(token: String) -> Result<(), HostError> {
    let mut input = BufReader::new(std::io::stdin());
    match read_line(&mut input)? {
        Some(ToWindow::Hello { version }) if version == PROTOCOL_VERSION => {}
        Some(ToWindow::Hello { version }) => return Err(HostError::OtherVersion(version)),
        _ => return Err(HostError::NothingToOpen),
    }
    let Some(ToWindow::Open(order)) = read_line(&mut input)? else {
        return Err(HostError::NothingToOpen);
    };
    let gate = Gate::new(PageOrigin::of(&order.url)?, token);
    if cfg!(all(unix, not(target_os = "macos")))
        && std::env::var_os("DISPLAY").is_none()
        && std::env::var_os("WAYLAND_DISPLAY").is_none()
    {
        return Err(HostError::NoDisplay);
    }

    let event_loop = EventLoopBuilder::<HostEvent>::with_user_event().build();
    let proxy = event_loop.create_proxy();
    let window = Framed::make(&order, &event_loop)?;
    let mut web_context = WebContext::new(Some(order.profile_dir.clone()));
    let web_view = make_web_view(&order, &gate, window.window(), &mut web_context, &proxy)?;
    listen(input, proxy.clone());

    let mut editor = EditorWindow {
        order: *order,
        gate,
        window,
        web_view,
        web_context,
        proxy,
        output: std::io::stdout(),
        state: State::Loading {
            since: Instant::now(),
        },
        has_page: false,
        last_wish: None,
        page_ends: 0,
        started: Instant::now(),
        told: Vec::new(),
    };
    event_loop.run(move |event, _, control_flow| {
        *control_flow = match editor.on(event) {
            Ok(flow) => flow,
            Err(error) => {
                let _ = write_line(
                    &mut editor.output,
                    &FromWindow::Failed {
                        text: error.to_string(),
                    },
                );
                ControlFlow::ExitWithCode(1)
            }
        };
    })
}

/// Reads the app's lines on a thread of its own, since standard input cannot be waited for together with a window.
fn listen(mut input: BufReader<std::io::Stdin>, proxy: EventLoopProxy<HostEvent>) {
    std::thread::spawn(move || {
        loop {
            let event = match read_line(&mut input) {
                Ok(Some(message)) => HostEvent::FromApp(message),
                Ok(None) | Err(_) => HostEvent::AppGone,
            };
            let is_last = matches!(event, HostEvent::AppGone);
            if proxy.send_event(event).is_err() || is_last {
                return;
            }
        }
    });
}

/// What the window waits for.
#[derive(Clone, Copy)]
enum State {
    /// For the page to show the workflow.
    Loading {
        /// Since when.
        since: Instant,
    },
    /// For the person.
    Open,
    /// For the page to hear the question whether it may close.
    Closing {
        /// Since when.
        since: Instant,
    },
    /// For the person's answer in the page.
    Asking,
}

/// What of a page ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageEnd {
    /// Its process, in a view that is still there.
    OfProcess,
    /// The view.
    OfView,
}

struct EditorWindow {
    order: OpenWindow,
    gate: Gate,
    window: Framed,
    // Before its context, which must live as long.
    web_view: WebView,
    web_context: WebContext,
    proxy: EventLoopProxy<HostEvent>,
    output: Stdout,
    state: State,
    /// When the person last wished to close it.
    last_wish: Option<Instant>,
    /// Whether a page of the backend was ever shown.
    has_page: bool,
    /// How often the page's own process ended.
    page_ends: usize,
    started: Instant,
    told: Vec<String>,
}

impl EditorWindow {
    fn on(&mut self, event: Event<'_, HostEvent>) -> Result<ControlFlow, HostError> {
        match event {
            Event::WindowEvent {
                event: WindowEvent::CloseRequested,
                ..
            } => return self.ask_to_close(),
            Event::WindowEvent {
                event: WindowEvent::Focused(false),
                ..
            } => self.tell_geometry()?,
            Event::UserEvent(HostEvent::AppGone) => return Ok(ControlFlow::ExitWithCode(0)),
            Event::UserEvent(HostEvent::FromApp(message)) => return self.on_app(message),
            Event::UserEvent(HostEvent::FromPage { address, body }) => {
                return self.on_page(&address, &body);
            }
            Event::UserEvent(HostEvent::PageCame { address }) => {
                self.has_page |= self.gate.origin().is_own(&address);
                // Whatever was asked in the page before this one is not asked any more.
                self.state = State::Loading {
                    since: Instant::now(),
                };
            }
            Event::UserEvent(HostEvent::PageLoaded { address })
                if self.gate.origin().is_own(&address) =>
            {
                self.web_view
                    .evaluate_script(&page::load_call(&self.order)?)?;
            }
            Event::UserEvent(HostEvent::PageEnded) => return self.on_page_end(PageEnd::OfProcess),
            Event::UserEvent(HostEvent::PageClosed) => return self.on_page_end(PageEnd::OfView),
            Event::UserEvent(HostEvent::WouldLeave { address }) => {
                // Nothing to stay with: the window would be empty.
                if !self.has_page {
                    return Err(HostError::SentElsewhere(server_of(&address)));
                }
                self.notice(if address.starts_with("blob:") || address.starts_with("data:") {
                    // How the frontend's own Export writes a file.
                    "A download was refused: a workflow leaves this window by Save to node or Save as new"
                        .to_owned()
                } else {
                    format!(
                        "The page wanted to go to {}; only this backend's own pages are shown here",
                        short(&address)
                    )
                })?;
            }
            Event::UserEvent(HostEvent::Refused(text)) => self.notice(text)?,
            Event::NewEvents(StartCause::ResumeTimeReached { .. }) => {
                if let State::Closing { since } = self.state
                    && since.elapsed() >= CLOSE_PATIENCE
                {
                    return self.close(DraftFate::Keep);
                }
                if let State::Loading { since } = self.state
                    && since.elapsed() >= LOAD_PATIENCE
                {
                    self.state = State::Open;
                    self.not_shown(
                        "The page did not show the workflow. Is this ComfyUI, and does it need a login?",
                    )?;
                }
            }
            _ => {}
        }
        Ok(self.flow())
    }

    fn flow(&self) -> ControlFlow {
        match self.state {
            State::Loading { since } => ControlFlow::WaitUntil(since + LOAD_PATIENCE),
            State::Open | State::Asking => ControlFlow::Wait,
            State::Closing { since } => ControlFlow::WaitUntil(since + CLOSE_PATIENCE),
        }
    }

    fn on_app(&mut self, message: ToWindow) -> Result<ControlFlow, HostError> {
        match message {
            ToWindow::Hello { .. } | ToWindow::Open(_) => {}
            ToWindow::Focus => {
                self.window.come_to_front();
            }
            ToWindow::Close(CloseMode::Ask) => return self.ask_to_close(),
            ToWindow::Close(CloseMode::Keep) => return self.close(DraftFate::Keep),
            ToWindow::NodeWorkflow(workflow) => {
                self.tell_page(&page::node_workflow_call(&workflow)?)?;
                // A page that is loaded anew begins with what the node has by then.
                self.order.workflow = workflow;
            }
            ToWindow::NodeTitle(title) => {
                self.window.name(&title);
                self.tell_page(&page::node_title_call(&title)?)?;
                self.order.node_title = title;
            }
            ToWindow::Appearance(appearance) => {
                self.window.dress(appearance);
                view::dress(&self.web_view, appearance);
                self.tell_page(&page::appearance_call(appearance)?)?;
                // A page that is loaded anew is given it with its workflow.
                self.order.appearance = appearance;
            }
            ToWindow::SaveAnswer { number, answer } => {
                self.tell_page(&page::answer_call(Some(number), &answer)?)?;
            }
        }
        Ok(self.flow())
    }

    fn on_page(&mut self, address: &str, body: &str) -> Result<ControlFlow, HostError> {
        let now_ms = self.started.elapsed().as_millis() as u64;
        match self.gate.admit(address, body, now_ms) {
            // Else a page that loads for ever calls off every wish to close.
            Ok(PageMessage::Loaded | PageMessage::LoadFailed { .. })
                if matches!(self.state, State::Closing { .. } | State::Asking) => {}
            Ok(PageMessage::Loaded) => {
                self.state = State::Open;
                self.window.measure_frame();
                write_line(&mut self.output, &FromWindow::Loaded)?;
            }
            Ok(PageMessage::LoadFailed { text }) => {
                self.state = State::Open;
                self.not_shown(&format!(
                    "The page could not show the workflow: {}",
                    short(&text)
                ))?;
            }
            Ok(PageMessage::Changed { draft }) => {
                self.order.draft.clone_from(&draft);
                write_line(&mut self.output, &FromWindow::Changed { draft })?;
            }
            Ok(PageMessage::Save {
                number,
                target,
                workflow,
                prompt,
            }) => {
                write_line(
                    &mut self.output,
                    &FromWindow::Save(Box::new(Saved {
                        number,
                        target,
                        workflow,
                        prompt,
                    })),
                )?;
            }
            // Unasked, a page has no say in this.
            Ok(PageMessage::MayClose { draft }) => {
                if matches!(self.state, State::Closing { .. } | State::Asking) {
                    return self.close(draft);
                }
            }
            Ok(PageMessage::Asking) => {
                if matches!(self.state, State::Closing { .. }) {
                    self.state = State::Asking;
                }
            }
            Ok(PageMessage::Stay) => {
                if matches!(self.state, State::Asking) {
                    self.state = State::Open;
                }
            }
            Err(refusal) => self.refuse(&refusal)?,
        }
        Ok(self.flow())
    }

    fn ask_to_close(&mut self) -> Result<ControlFlow, HostError> {
        let now = Instant::now();
        let before = self.last_wish.replace(now);
        // Whatever the page made of the first: it may have loaded anew, or answered for the person.
        let is_second = before.is_some_and(|before| now - before < CLOSE_PATIENCE);
        match self.state {
            // A second wish while the page is silent, or while there is no page yet.
            State::Closing { .. } | State::Asking | State::Loading { .. } => {
                self.close(DraftFate::Keep)
            }
            State::Open if is_second => self.close(DraftFate::Keep),
            State::Open => {
                self.state = State::Closing {
                    since: Instant::now(),
                };
                self.tell_page(&page::close_call()?)?;
                Ok(self.flow())
            }
        }
    }

    fn close(&mut self, draft: DraftFate) -> Result<ControlFlow, HostError> {
        self.tell_geometry()?;
        write_line(&mut self.output, &FromWindow::Closed { draft })?;
        Ok(ControlFlow::ExitWithCode(0))
    }

    /// Runs a script in the page, when the page is the backend's.
    fn tell_page(&self, script: &str) -> Result<(), HostError> {
        if self
            .web_view
            .url()
            .is_ok_and(|address| self.gate.origin().is_own(&address))
        {
            self.web_view.evaluate_script(script)?;
        }
        Ok(())
    }

    fn refuse(&mut self, refusal: &PageRefusal) -> Result<(), HostError> {
        let text = sentence(&refusal.to_string());
        let answer = SaveAnswer::Refused(text.clone());
        match refusal {
            PageRefusal::TooManySaves { number } => {
                self.tell_page(&page::answer_call(Some(*number), &answer)?)?;
            }
            PageRefusal::TooLarge(_) => self.tell_page(&page::answer_call(None, &answer)?)?,
            _ => {}
        }
        self.notice(text)
    }

    /// The page ended by itself: out of memory, a fault of the web view, killed, or closed by a script of its own.
    fn on_page_end(&mut self, end: PageEnd) -> Result<ControlFlow, HostError> {
        self.page_ends += 1;
        if matches!(self.state, State::Closing { .. } | State::Asking) {
            return self.close(DraftFate::Keep);
        }
        if self.page_ends >= MAX_PAGE_ENDS {
            return Err(HostError::PageEnds);
        }
        write_line(&mut self.output, &FromWindow::PageGone)?;
        self.state = State::Loading {
            since: Instant::now(),
        };
        match end {
            PageEnd::OfProcess => self.web_view.load_url(self.order.url.as_str())?,
            PageEnd::OfView => {
                self.web_view = make_web_view(
                    &self.order,
                    &self.gate,
                    self.window.window(),
                    &mut self.web_context,
                    &self.proxy,
                )?;
            }
        }
        Ok(self.flow())
    }

    fn not_shown(&mut self, text: &str) -> Result<(), HostError> {
        write_line(
            &mut self.output,
            &FromWindow::NotShown {
                text: text.to_owned(),
            },
        )?;
        Ok(())
    }

    /// Tells the app, each thing once and a bounded number of things: a page could go on for ever.
    fn notice(&mut self, text: String) -> Result<(), HostError> {
        const MAX_NOTICES: usize = 20;
        if self.told.len() < MAX_NOTICES && !self.told.contains(&text) {
            self.told.push(text.clone());
            if matches!(self.state, State::Open) {
                self.tell_page(&page::notice_call(&text)?)?;
            }
            write_line(&mut self.output, &FromWindow::Notice { text })?;
        }
        Ok(())
    }

    fn tell_geometry(&mut self) -> Result<(), HostError> {
        if let Some(geometry) = self.window.geometry() {
            write_line(&mut self.output, &FromWindow::Geometry(geometry))?;
        }
        Ok(())
    }
}

/// The server of an address, as a person would name it.
fn server_of(address: &str) -> String {
    match address.parse::<url::Url>() {
        Ok(url) if url.has_host() => url.origin().ascii_serialization(),
        _ => short(address),
    }
}

fn short(address: &str) -> String {
    let mut text: String = address.chars().take(120).collect();
    if text.len() < address.len() {
        text.push('…');
    }
    text
}
