//! The window's own process: a tao window with the platform's web view in it.
//!
//! It reads [`ToWindow`] lines from its standard input and answers with [`FromWindow`] lines. It ends when the person
//! closes it, when the app is gone (end of input), or when the page cannot be shown.

use comfyui_orchestrator::editor::message::{
    Appearance, CloseMode, DraftFate, EditorGraph, FromWindow, LineError, OpenWindow,
    PROTOCOL_VERSION, SaveAnswer, SaveTarget, Saved, ToWindow, WindowGeometry, read_line,
    write_line,
};
use comfyui_orchestrator::editor::origin::{NotAPage, PageOrigin};
use comfyui_orchestrator::editor::page::{self, Gate, PageMessage, PageRefusal};
use serde_json::value::RawValue;
use std::io::{BufReader, Stdout};
use std::time::{Duration, Instant};
use tao::dpi::{LogicalPosition, LogicalSize};
use tao::event::{Event, StartCause, WindowEvent};
use tao::event_loop::{ControlFlow, EventLoopBuilder, EventLoopProxy};
use tao::window::{Theme, Window, WindowBuilder};
use wry::{NewWindowResponse, PageLoadEvent, WebContext, WebView, WebViewBuilder};

/// How long the page may take to answer "close?" before the window closes all the same. The draft is with the app.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);

/// How long a page may take to show the workflow before the app is told that it does not.
const LOAD_PATIENCE: Duration = Duration::from_secs(150);

/// Smallest content, logical pixels.
const MIN_SIZE: [f64; 2] = [640.0, 480.0];

/// A frame is not wider than this on both sides together, logical pixels; more is a person's resizing.
const MAX_FRAME: f64 = 200.0;

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
    let window = make_window(&order, &event_loop)?;
    let mut web_context = WebContext::new(Some(order.profile_dir.clone()));
    let web_view = make_web_view(&order, &gate, &window, &mut web_context, &proxy)?;
    listen(input, proxy);

    let mut editor = EditorWindow {
        order: *order,
        gate,
        window,
        web_view,
        output: std::io::stdout(),
        frame: LogicalSize::new(0.0, 0.0),
        state: State::Loading {
            since: Instant::now(),
        },
        has_page: false,
        in_review: None,
        page_ends: 0,
        started: Instant::now(),
        told: Vec::new(),
    };
    event_loop.run(move |event, _, control_flow| {
        // The web context must live as long as the view.
        let _ = &web_context;
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

fn make_window(
    order: &OpenWindow,
    event_loop: &tao::event_loop::EventLoop<HostEvent>,
) -> Result<Window, HostError> {
    let mut builder = WindowBuilder::new()
        .with_title(format!("{}, {}", order.node_title, order.backend_name))
        .with_theme(Some(match order.appearance {
            Appearance::Dark => Theme::Dark,
            Appearance::Light => Theme::Light,
        }))
        .with_min_inner_size(LogicalSize::new(MIN_SIZE[0], MIN_SIZE[1]))
        .with_inner_size(window_size(order));
    if let Some(geometry) = order.geometry
        && is_on_a_screen(geometry, event_loop)
    {
        builder = builder.with_position(LogicalPosition::new(geometry.x, geometry.y));
    }
    Ok(builder.build(event_loop)?)
}

/// Whether a person would see the window's title there: the screen it was on may be gone.
fn is_on_a_screen(
    geometry: WindowGeometry,
    event_loop: &tao::event_loop::EventLoop<HostEvent>,
) -> bool {
    let title = [geometry.x + geometry.width / 2.0, geometry.y + 20.0];
    event_loop.available_monitors().any(|screen| {
        let scale = screen.scale_factor();
        let corner = screen.position().to_logical::<f64>(scale);
        let size = screen.size().to_logical::<f64>(scale);
        (corner.x..corner.x + size.width).contains(&title[0])
            && (corner.y..corner.y + size.height).contains(&title[1])
    })
}

/// The size of the content that is asked for: that of last time, or the usual one.
fn window_size(order: &OpenWindow) -> LogicalSize<f64> {
    order
        .geometry
        .map_or(LogicalSize::new(1400.0, 900.0), |geometry| {
            LogicalSize::new(
                geometry.width.max(MIN_SIZE[0]),
                geometry.height.max(MIN_SIZE[1]),
            )
        })
}

fn make_web_view(
    order: &OpenWindow,
    gate: &Gate,
    window: &Window,
    web_context: &mut WebContext,
    proxy: &EventLoopProxy<HostEvent>,
) -> Result<WebView, HostError> {
    let may_load = gate.origin().clone();
    let may_open = gate.origin().clone();
    let (on_ipc, on_navigation, on_window, on_load, on_download) = (
        proxy.clone(),
        proxy.clone(),
        proxy.clone(),
        proxy.clone(),
        proxy.clone(),
    );
    // Errors of `send_event` mean that the loop has ended and nobody is left to tell.
    let builder = WebViewBuilder::new_with_web_context(web_context)
        .with_url(order.url.as_str())
        .with_initialization_script_for_main_only(page::bar_script(gate.token(), order)?, true)
        .with_ipc_handler(move |request| {
            let _ = on_ipc.send_event(HostEvent::FromPage {
                address: request.uri().to_string(),
                body: request.into_body(),
            });
        })
        .with_navigation_handler(move |address| {
            let allowed = may_load.may_load(&address);
            if !allowed {
                let _ = on_navigation.send_event(HostEvent::WouldLeave { address });
            }
            allowed
        })
        .with_new_window_req_handler(move |address, _| {
            let what = if may_open.is_own(&address) {
                "another window"
            } else {
                "a window of another server"
            };
            let _ = on_window.send_event(HostEvent::Refused(format!(
                "The page wanted to open {what} ({}); open it in your browser if you trust it",
                short(&address)
            )));
            NewWindowResponse::Deny
        })
        .with_download_started_handler(move |address, _| {
            let _ = on_download.send_event(HostEvent::Refused(format!(
                "A download was refused ({}): files leave a backend through runs, or your browser",
                short(&address)
            )));
            false
        })
        .with_on_page_load_handler(move |event, address| {
            let _ = on_load.send_event(match event {
                PageLoadEvent::Started => HostEvent::PageCame { address },
                PageLoadEvent::Finished => HostEvent::PageLoaded { address },
            });
        })
        .with_permission_handler(|_| wry::PermissionResponse::Deny)
        // Pasting by keyboard or menu works without it; a page that asks for the clipboard by itself gets nothing.
        .with_clipboard(false)
        .with_devtools(cfg!(debug_assertions));
    build(builder, window, proxy)
}

#[cfg(all(unix, not(target_os = "macos")))]
fn build(
    builder: WebViewBuilder<'_>,
    window: &Window,
    proxy: &EventLoopProxy<HostEvent>,
) -> Result<WebView, HostError> {
    use tao::platform::unix::WindowExtUnix as _;
    use webkit2gtk::WebViewExt as _;
    use wry::{WebViewBuilderExtUnix as _, WebViewExtUnix as _};
    let container = window
        .default_vbox()
        .ok_or(wry::Error::UnsupportedWindowHandle)?;
    let web_view = builder.build_gtk(container)?;
    let on_end = proxy.clone();
    web_view
        .webview()
        .connect_web_process_terminated(move |_, _| {
            let _ = on_end.send_event(HostEvent::PageEnded);
        });
    Ok(web_view)
}

#[cfg(target_os = "macos")]
fn build(
    builder: WebViewBuilder<'_>,
    window: &Window,
    proxy: &EventLoopProxy<HostEvent>,
) -> Result<WebView, HostError> {
    use wry::WebViewBuilderExtDarwin as _;
    let on_end = proxy.clone();
    let builder = builder.with_on_web_content_process_terminate_handler(move || {
        let _ = on_end.send_event(HostEvent::PageEnded);
    });
    Ok(builder.build(window)?)
}

/// WebView2 tells nobody here when its page ends; the window can be closed all the same, and what was changed is kept.
#[cfg(windows)]
fn build(
    builder: WebViewBuilder<'_>,
    window: &Window,
    _proxy: &EventLoopProxy<HostEvent>,
) -> Result<WebView, HostError> {
    Ok(builder.build(window)?)
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

struct EditorWindow {
    order: OpenWindow,
    gate: Gate,
    window: Window,
    web_view: WebView,
    output: Stdout,
    /// What the system counts as content beyond what was asked for: under Wayland the frame that is drawn inside.
    frame: LogicalSize<f64>,
    state: State,
    /// Whether a page of the backend was ever shown.
    has_page: bool,
    /// What the page sent to be kept on the node, until the app says what became of it.
    in_review: Option<Box<RawValue>>,
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
            Event::UserEvent(HostEvent::PageEnded) => return self.on_page_end(),
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
                self.window.set_minimized(false);
                self.window.set_focus();
            }
            ToWindow::Close(CloseMode::Ask) => return self.ask_to_close(),
            ToWindow::Close(CloseMode::Keep) => return self.close(DraftFate::Keep),
            ToWindow::NodeWorkflow(workflow) => {
                self.tell_page(&page::node_workflow_call(&workflow)?)?;
                self.order.workflow = workflow;
            }
            ToWindow::SaveAnswer(answer) => {
                // A page that is loaded anew begins with what the node has now.
                match &answer {
                    SaveAnswer::InReview => {}
                    SaveAnswer::Kept => {
                        if let Some(kept) = self.in_review.take() {
                            self.order.workflow = EditorGraph::Ui(kept);
                        }
                    }
                    SaveAnswer::Refused(_) => self.in_review = None,
                }
                self.tell_page(&page::answer_call(&answer)?)?;
            }
        }
        Ok(self.flow())
    }

    fn on_page(&mut self, address: &str, body: &str) -> Result<ControlFlow, HostError> {
        let now_ms = self.started.elapsed().as_millis() as u64;
        match self.gate.admit(address, body, now_ms) {
            Ok(PageMessage::Loaded) => {
                self.state = State::Open;
                self.measure_frame();
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
                target,
                workflow,
                prompt,
            }) => {
                if target == SaveTarget::Node {
                    self.in_review = Some(workflow.clone());
                }
                write_line(
                    &mut self.output,
                    &FromWindow::Save(Box::new(Saved {
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
        match self.state {
            // A second wish while the page is silent, or while there is no page yet.
            State::Closing { .. } | State::Asking | State::Loading { .. } => {
                self.close(DraftFate::Keep)
            }
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
        let text = first_upper(&refusal.to_string());
        if matches!(
            refusal,
            PageRefusal::TooManySaves | PageRefusal::TooLarge(_)
        ) {
            self.tell_page(&page::answer_call(&SaveAnswer::Refused(text.clone()))?)?;
        }
        self.notice(text)
    }

    /// The page's process ended by itself: out of memory, a fault of the web view, or killed.
    fn on_page_end(&mut self) -> Result<ControlFlow, HostError> {
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
        self.web_view.load_url(self.order.url.as_str())?;
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

    /// Without this, a window would open larger each time.
    fn measure_frame(&mut self) {
        let asked = window_size(&self.order);
        let size = self.window.inner_size();
        let size = size.to_logical::<f64>(self.window.scale_factor());
        let frame = LogicalSize::new(size.width - asked.width, size.height - asked.height);
        if (0.0..=MAX_FRAME).contains(&frame.width) && (0.0..=MAX_FRAME).contains(&frame.height) {
            self.frame = frame;
        }
    }

    fn tell_geometry(&mut self) -> Result<(), HostError> {
        let scale = self.window.scale_factor();
        let Ok(position) = self.window.outer_position() else {
            return Ok(());
        };
        let position = position.to_logical::<f64>(scale);
        let size = self.window.inner_size().to_logical::<f64>(scale);
        write_line(
            &mut self.output,
            &FromWindow::Geometry(WindowGeometry {
                x: position.x,
                y: position.y,
                width: size.width - self.frame.width,
                height: size.height - self.frame.height,
            }),
        )?;
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

/// A refusal begins small, for the log.
fn first_upper(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn short(address: &str) -> String {
    let mut text: String = address.chars().take(120).collect();
    if text.len() < address.len() {
        text.push('…');
    }
    text
}
