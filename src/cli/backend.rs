//! `backend check|add|list|remove`: ComfyUI servers, and how other subcommands name them.

use super::data_dir::data_dir;
use crate::engine::RunCommand;
use crate::fleet::{self, Auth, BackendConfig, BackendReport, TlsPolicy};
use crate::project::BackendId;
use crate::store::{Attendance, Store};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use url::Url;

#[derive(Debug, Subcommand)]
pub(super) enum BackendCommand {
    /// Ask a backend what it is, what it can do and what it is doing.
    Check {
        /// Its address, for example `http://127.0.0.1:8188`.
        #[arg(value_parser = super::parse_address)]
        url: Url,
        #[command(flatten)]
        access: Access,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Register a backend, so that `run` and the app use it. One of the same address is replaced. An app that is open sees it
    /// within seconds.
    Add {
        /// Its address, for example `https://example.org/comfy`.
        #[arg(value_parser = super::parse_address)]
        url: Url,
        /// What to call it (default: its host and port).
        #[arg(long)]
        name: Option<String>,
        /// A word that workflow nodes can ask for. May be given several times.
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        #[command(flatten)]
        access: Access,
    },
    /// List the registered backends.
    List {
        /// Print one JSON document per line.
        #[arg(long)]
        json: bool,
    },
    /// Give a registered backend work again.
    Enable {
        /// Its name or address.
        backend: String,
    },
    /// Give a registered backend nothing new; what it has ends there.
    Disable {
        /// Its name or address.
        backend: String,
        /// Call off what it has: that goes elsewhere.
        #[arg(long)]
        now: bool,
    },
    /// Forget a registered backend.
    Remove {
        /// Its name or address.
        backend: String,
    },
}

/// How a backend lets us in.
#[derive(Debug, Args)]
pub(super) struct Access {
    /// How we say who we are: bearer:env:NAME, basic:USER:env:NAME or header:HEADER:env:NAME. The secret is read from the
    /// environment variable NAME when we connect; it is stored nowhere.
    #[arg(long, value_name = "AUTH")]
    auth: Option<String>,
    /// Take any certificate: for a backend with a self-signed one that you vouch for.
    #[arg(long)]
    accept_any_certificate: bool,
}

/// Backends to use beside the registered ones.
#[derive(Debug, Args)]
pub(super) struct BackendArguments {
    /// The address of a backend to use, beside the registered ones; the run remembers it. May be given several times.
    #[arg(long = "backend", value_name = "URL", value_parser = super::parse_address)]
    urls: Vec<Url>,
    /// How we say who we are to a backend named with --backend: URL=bearer:env:NAME, URL=basic:USER:env:NAME or
    /// URL=header:HEADER:env:NAME, where NAME is the environment variable that holds the secret. May be given several times.
    #[arg(long = "backend-auth", value_name = "URL=AUTH")]
    auths: Vec<String>,
}

impl BackendArguments {
    /// The backends that were named, each with its authentication.
    pub(super) fn configs(self) -> anyhow::Result<Vec<BackendConfig>> {
        let mut configs: Vec<BackendConfig> = self.urls.into_iter().map(unregistered).collect();
        for (number, text) in self.auths.iter().enumerate() {
            // What was typed is not repeated: it may hold a secret by mistake.
            let option = format!("--backend-auth number {}", number + 1);
            let (url, auth) = text
                .rsplit_once('=')
                .with_context(|| format!("{option}: write it as URL=AUTH"))?;
            let url = super::parse_address(url)
                .with_context(|| format!("{option}: what stands before = is no address"))?;
            let auth: Auth = auth.parse().with_context(|| option.clone())?;
            let config = configs
                .iter_mut()
                .find(|config| config.url == url)
                .with_context(|| format!("{option}: no --backend names {url}"))?;
            config.auth = auth;
        }
        Ok(configs)
    }
}

/// A backend named by its address.
pub(super) fn unregistered(url: Url) -> BackendConfig {
    let name = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => url.to_string(),
    };
    BackendConfig::new(&name, url)
}

impl Access {
    fn apply(self, config: &mut BackendConfig) -> anyhow::Result<()> {
        if let Some(auth) = self.auth {
            config.auth = auth.parse().context("--auth")?;
        }
        if self.accept_any_certificate {
            config.tls = TlsPolicy::AcceptAny;
        }
        Ok(())
    }
}

/// Does what the subcommand asks.
pub(super) async fn backend(
    asked_dir: Option<PathBuf>,
    command: BackendCommand,
) -> anyhow::Result<ExitCode> {
    match command {
        BackendCommand::Check { url, access, json } => {
            let mut config = unregistered(url);
            access.apply(&mut config)?;
            let report = fleet::check(&config).await?;
            if json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                tell(&report);
            }
        }
        BackendCommand::Add {
            url,
            name,
            tags,
            access,
        } => {
            let mut config = unregistered(url);
            if let Some(name) = name {
                config.name = name;
            }
            config.tags = tags.into_iter().collect();
            access.apply(&mut config)?;
            add(&open(asked_dir)?, config).await?;
        }
        BackendCommand::List { json } => list(&open(asked_dir)?, json).await?,
        BackendCommand::Enable { backend } => {
            set_enabled(&open(asked_dir)?, &backend, true).await?;
        }
        BackendCommand::Disable { backend, now } => {
            let store = open(asked_dir)?;
            let backend_id = set_enabled(&store, &backend, false).await?;
            if now {
                vacate(&store, backend_id).await?;
            }
        }
        BackendCommand::Remove { backend } => remove(&open(asked_dir)?, &backend).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn open(asked_dir: Option<PathBuf>) -> anyhow::Result<Store> {
    let data_dir = data_dir(asked_dir)?;
    Ok(Store::open(&crate::engine::database_path(&data_dir))?)
}

async fn add(store: &Store, mut config: BackendConfig) -> anyhow::Result<()> {
    // What would be refused at every connection is refused here.
    fleet::endpoint_of(&config, |_| Some("x".to_owned()))?;
    let registered = store.backends().await?;
    if let Some(same) = registered.iter().find(|known| known.url == config.url) {
        config.id = same.id;
    }
    if registered
        .iter()
        .any(|known| known.name == config.name && known.id != config.id)
    {
        bail!(
            "another backend is called \"{}\"; choose a name with --name",
            config.name
        );
    }
    store.put_backend(config.clone()).await?;
    println!("{} is registered: {}", config.name, config.url);
    match fleet::check(&config).await {
        Ok(report) => tell(&report),
        Err(error) => println!("It does not answer now: {error}"),
    }
    Ok(())
}

async fn list(store: &Store, json: bool) -> anyhow::Result<()> {
    let registered = store.backends().await?;
    if registered.is_empty() && !json {
        println!(
            "No backends are registered. `comfyui-orchestrator backend add URL` registers one."
        );
    }
    for config in registered {
        if json {
            println!("{}", serde_json::to_string(&config)?);
            continue;
        }
        let mut notes = Vec::new();
        if config.auth != Auth::None {
            notes.push(config.auth.to_string());
        }
        if config.tls == TlsPolicy::AcceptAny {
            notes.push("any certificate".to_owned());
        }
        notes.extend(config.tags.iter().map(|tag| format!("#{tag}")));
        if !config.enabled {
            notes.push("gets no work".to_owned());
        }
        println!("{:<24} {}  {}", config.name, config.url, notes.join(", "));
    }
    Ok(())
}

/// Gives a backend work or none. Programs that are running see it within seconds.
async fn set_enabled(store: &Store, backend: &str, enabled: bool) -> anyhow::Result<BackendId> {
    let mut config = called(store, backend).await?;
    config.enabled = enabled;
    store.put_backend(config.clone()).await?;
    let words = if enabled {
        "gets work"
    } else {
        "gets nothing new"
    };
    println!("{} {words}.", config.name);
    Ok(config.id)
}

/// Tells every program that works on a run to call off what is at a backend.
async fn vacate(store: &Store, backend_id: BackendId) -> anyhow::Result<()> {
    for run in store.runs().await? {
        if run.attendance == Attendance::Attended {
            let command = serde_json::to_string(&RunCommand::VacateBackend { backend_id })?;
            store.leave_wish(run.run_id, command).await?;
        }
    }
    Ok(())
}

async fn remove(store: &Store, backend: &str) -> anyhow::Result<()> {
    let config = called(store, backend).await?;
    store.remove_backend(config.id).await?;
    println!("{} is forgotten.", config.name);
    Ok(())
}

/// The registered backend of a name or address.
async fn called(store: &Store, backend: &str) -> anyhow::Result<BackendConfig> {
    let url = super::parse_address(backend).ok();
    let registered = store.backends().await?;
    let found = registered
        .iter()
        .find(|known| known.name == backend)
        .or_else(|| {
            registered
                .iter()
                .find(|known| Some(&known.url) == url.as_ref())
        });
    let Some(config) = found else {
        let names: Vec<&str> = registered.iter().map(|known| known.name.as_str()).collect();
        bail!(
            "no registered backend is called {backend} or has that address; there are: {}",
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        );
    };
    Ok(config.clone())
}

fn tell(report: &BackendReport) {
    println!("{}", report.url);
    println!(
        "  ComfyUI     {}",
        if report.version.is_empty() {
            "unknown version"
        } else {
            &report.version
        }
    );
    println!("  answers in  {} ms", report.latency_ms);
    println!("  classes     {}", report.class_count);
    println!("  models      {}", report.model_count);
    println!(
        "  queue       {} running, {} waiting",
        report.queue_running, report.queue_pending
    );
    println!(
        "  memory      {} of {} free",
        gib(report.ram_free),
        gib(report.ram_total)
    );
    for device in &report.devices {
        println!(
            "  device      {} ({} of {} free)",
            device.name,
            gib(device.vram_free),
            gib(device.vram_total)
        );
    }
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
