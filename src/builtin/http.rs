//! The HTTP side of the protocol: routes, and what every request has in common.
//!
//! Every path also answers under `/api`, except `/api/jobs` and `/internal`, which have one form.

mod answer;
mod file;
mod frontend;
mod guard;
mod info;
mod prompt;
mod upload;
mod user;
mod view;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Query, State, WebSocketUpgrade},
    middleware,
    response::Response,
    routing::{get, patch, post},
};
use indexmap::IndexMap;

use super::{host::Host, sockets};

/// The largest request body: 100 MiB, ComfyUI's default.
pub const MAXIMUM_BODY_BYTES: usize = 100 * 1024 * 1024;

/// The largest message a WebSocket client may send; it has nothing to say but its feature flags.
const MAXIMUM_SOCKET_MESSAGE_BYTES: usize = 1024 * 1024;

type SharedHost = State<Arc<Host>>;
type QueryMap = Query<IndexMap<String, String>>;

/// The service of one server.
pub fn router(host: Arc<Host>) -> Router {
    let both = Router::new()
        .route("/ws", get(socket))
        .route("/prompt", get(prompt::exec_info).post(prompt::submit))
        .route("/queue", get(prompt::queue).post(prompt::change_queue))
        .route("/interrupt", post(prompt::interrupt))
        .route("/free", post(prompt::free))
        .route(
            "/history",
            get(prompt::history).post(prompt::change_history),
        )
        .route("/history/{prompt_id}", get(prompt::history_of))
        .route("/view", get(view::view))
        .route("/view_metadata/{folder}", get(view::metadata))
        .route("/upload/image", post(upload::image))
        .route("/upload/mask", post(upload::mask))
        .route("/object_info", get(info::object_info))
        .route("/object_info/{class}", get(info::object_info_of))
        .route("/system_stats", get(info::system_stats))
        .route("/features", get(info::features))
        .route("/models", get(info::models))
        .route("/models/{folder}", get(info::models_in))
        .route("/experiment/models", get(info::model_folders))
        .route("/experiment/models/{folder}", get(info::model_files))
        .route("/embeddings", get(info::embeddings))
        .route("/extensions", get(frontend::extensions))
        .route("/workflow_templates", get(info::empty_object))
        .route("/global_subgraphs", get(info::empty_object))
        .route("/i18n", get(info::empty_object))
        .route("/users", get(user::users))
        .route("/settings", get(user::settings).post(user::change_settings))
        .route(
            "/settings/{id}",
            get(user::setting).post(user::change_setting),
        )
        .route("/userdata", get(user::list))
        .route("/v2/userdata", get(user::list_tree))
        .route(
            "/userdata/{file}",
            get(user::read).post(user::write).delete(user::delete),
        )
        .route("/userdata/{file}/move/{destination}", post(user::rename));
    let single = Router::new()
        .route("/api/jobs", get(prompt::jobs))
        .route("/api/jobs/{id}", get(prompt::job))
        .route("/internal/logs", get(info::logs))
        .route("/internal/logs/raw", get(info::raw_logs))
        .route("/internal/logs/subscribe", patch(info::subscribe_logs))
        .route("/internal/folder_paths", get(info::folder_paths))
        .route("/internal/files/{place}", get(info::files));
    Router::new()
        .merge(both.clone())
        .nest("/api", both)
        .merge(single)
        .fallback(frontend::serve)
        .method_not_allowed_fallback(answer::method_not_allowed)
        // Handlers read bodies with the limit above; the framework's own is 2 MB.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(guard::guard))
        .with_state(host)
}

async fn socket(
    State(host): SharedHost,
    Query(query): QueryMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let client_id = query.get("clientId").cloned().unwrap_or_default();
    upgrade
        .max_message_size(MAXIMUM_SOCKET_MESSAGE_BYTES)
        .on_upgrade(async move |socket| sockets::serve(&host, socket, &client_id).await)
}
