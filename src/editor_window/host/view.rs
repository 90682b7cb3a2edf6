//! The system's web view, and what a page in it may do.

use super::{HostError, HostEvent, short};
use comfyui_orchestrator::editor::message::{Appearance, OpenWindow};
use comfyui_orchestrator::editor::origin::PageOrigin;
use comfyui_orchestrator::editor::page::{self, Gate};
use tao::event_loop::EventLoopProxy;
use tao::window::Window;
use wry::{NewWindowResponse, PageLoadEvent, WebContext, WebView, WebViewBuilder};

/// Puts the backend's page into the window, with the rules for it.
pub(super) fn make_web_view(
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
        .with_initialization_script_for_main_only(page::bar_script(gate.token(), &order.url)?, true)
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
    let web_view = build(builder, window, proxy, gate.origin())?;
    dress(&web_view, order.appearance);
    Ok(web_view)
}

#[cfg(all(unix, not(target_os = "macos")))]
fn build(
    builder: WebViewBuilder<'_>,
    window: &Window,
    proxy: &EventLoopProxy<HostEvent>,
    _origin: &PageOrigin,
) -> Result<WebView, HostError> {
    use tao::platform::unix::WindowExtUnix as _;
    use webkit2gtk::WebViewExt as _;
    use webkit2gtk::glib::ObjectExt as _;
    use wry::{WebViewBuilderExtUnix as _, WebViewExtUnix as _};
    let container = window
        .default_vbox()
        .ok_or(wry::Error::UnsupportedWindowHandle)?;
    let web_view = builder.build_gtk(container)?;
    let (on_end, on_close) = (proxy.clone(), proxy.clone());
    web_view
        .webview()
        .connect_web_process_terminated(move |_, _| {
            let _ = on_end.send_event(HostEvent::PageEnded);
        });
    // wry destroys the view of a page that closes itself.
    web_view
        .webview()
        .connect_local("destroy", false, move |_| {
            let _ = on_close.send_event(HostEvent::PageClosed);
            None
        });
    Ok(web_view)
}

#[cfg(target_os = "macos")]
fn build(
    builder: WebViewBuilder<'_>,
    window: &Window,
    proxy: &EventLoopProxy<HostEvent>,
    _origin: &PageOrigin,
) -> Result<WebView, HostError> {
    use wry::WebViewBuilderExtDarwin as _;
    let on_end = proxy.clone();
    let builder = builder.with_on_web_content_process_terminate_handler(move || {
        let _ = on_end.send_event(HostEvent::PageEnded);
    });
    Ok(builder.build(window)?)
}

#[cfg(windows)]
fn build(
    builder: WebViewBuilder<'_>,
    window: &Window,
    proxy: &EventLoopProxy<HostEvent>,
    origin: &PageOrigin,
) -> Result<WebView, HostError> {
    use webview2_com::Microsoft::Web::WebView2::Win32::{
        COREWEBVIEW2_PROCESS_FAILED_KIND, COREWEBVIEW2_PROCESS_FAILED_KIND_BROWSER_PROCESS_EXITED,
        COREWEBVIEW2_PROCESS_FAILED_KIND_RENDER_PROCESS_EXITED,
    };
    use webview2_com::{
        NavigationStartingEventHandler, ProcessFailedEventHandler,
        WindowCloseRequestedEventHandler, take_pwstr,
    };
    use wry::WebViewExtWindows as _;
    let web_view = builder.build(window)?;
    let may_load = origin.clone();
    let (on_end, on_close, on_navigation) = (proxy.clone(), proxy.clone(), proxy.clone());
    // wry asks about the main frame alone here.
    let framed = NavigationStartingEventHandler::create(Box::new(move |_, arguments| {
        let Some(arguments) = arguments else {
            return Ok(());
        };
        #[expect(
            clippy::default_trait_access,
            reason = "its type is of a crate that is no dependency of ours"
        )]
        let mut address = Default::default();
        // SAFETY: the address is written by the view and ours to free, which `take_pwstr` does.
        #[expect(unsafe_code, reason = "a COM method")]
        let address = unsafe {
            arguments.Uri(&raw mut address)?;
            take_pwstr(address)
        };
        if !may_load.may_load(&address) {
            // SAFETY: no pointer is passed.
            #[expect(unsafe_code, reason = "a COM method")]
            unsafe {
                arguments.SetCancel(true)?;
            }
            let _ = on_navigation.send_event(HostEvent::WouldLeave { address });
        }
        Ok(())
    }));
    let ended = ProcessFailedEventHandler::create(Box::new(move |_, arguments| {
        let mut kind = COREWEBVIEW2_PROCESS_FAILED_KIND(-1);
        if let Some(arguments) = arguments {
            // SAFETY: writes into `kind`, which is of the type asked for.
            #[expect(unsafe_code, reason = "a COM method")]
            unsafe {
                arguments.ProcessFailedKind(&raw mut kind)?;
            }
        }
        // Other processes come back by themselves, and a slow page is still there.
        if kind == COREWEBVIEW2_PROCESS_FAILED_KIND_RENDER_PROCESS_EXITED {
            let _ = on_end.send_event(HostEvent::PageEnded);
        } else if kind == COREWEBVIEW2_PROCESS_FAILED_KIND_BROWSER_PROCESS_EXITED {
            // The view went with it.
            let _ = on_end.send_event(HostEvent::PageClosed);
        }
        Ok(())
    }));
    let closed = WindowCloseRequestedEventHandler::create(Box::new(move |_, _| {
        let _ = on_close.send_event(HostEvent::PageClosed);
        Ok(())
    }));
    let view = web_view.webview();
    let mut token = 0;
    // SAFETY: the handlers are counted by the view, which calls them on this thread; the token is written only.
    #[expect(unsafe_code, reason = "COM methods")]
    let heard = unsafe {
        view.add_FrameNavigationStarting(&framed, &raw mut token)
            .and_then(|()| view.add_ProcessFailed(&ended, &raw mut token))
            .and_then(|()| view.add_WindowCloseRequested(&closed, &raw mut token))
    };
    heard.map_err(|error| HostError::Unwatched(error.to_string()))?;
    Ok(web_view)
}

/// Gives pages the colours of the app, where the window's theme does not do it.
pub(super) fn dress(web_view: &WebView, appearance: Appearance) {
    #[cfg(windows)]
    {
        use wry::WebViewExtWindows as _;
        let theme = match appearance {
            Appearance::Dark => wry::Theme::Dark,
            Appearance::Light => wry::Theme::Light,
        };
        // Older runtimes cannot.
        let _ = web_view.set_theme(theme);
    }
    #[cfg(not(windows))]
    let _ = (web_view, appearance);
}
