#!/usr/bin/env bash
# Checks with clippy that the window of ComfyUI's editor compiles for Windows and macOS, on any system with clang. It is the one
# part that speaks to each system's own web view. Its sources are checked in a crate of their own, because crates with C code for
# those systems (SQLite, ring) would need their headers. Nothing is linked or run.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
crate=$root/target/platforms/crate
mkdir -p "$crate/src"
ln -sfn "$root/src/editor.rs" "$crate/src/editor.rs"
ln -sfn "$root/src/editor" "$crate/src/editor"
ln -sfn "$root/src/editor_window" "$crate/src/editor_window"
ln -sfn "$root/assets" "$crate/assets"
printf '//! The part of the crate that the window of the editor knows.\npub mod editor;\n' >"$crate/src/lib.rs"
cp Cargo.lock clippy.toml rust-toolchain.toml "$crate/"

# A dependency as the real manifest has it.
dependency() { grep -E "^$1 = " Cargo.toml | sed 's/, optional = true//'; }
{
  cat <<'TOML'
[workspace]
[package]
name = "comfyui-orchestrator"
version = "0.1.0"
edition = "2024"
[[bin]]
name = "comfyui-orchestrator-editor"
path = "src/editor_window/main.rs"
[dependencies]
TOML
  for name in serde serde_json thiserror url uuid tao wry; do dependency "$name"; done
  echo "[target.'cfg(all(unix, not(target_os = \"macos\")))'.dependencies]"
  dependency webkit2gtk
  echo "[target.'cfg(windows)'.dependencies]"
  dependency webview2-com
  sed -n '/^\[lints\.rust\]/,$p' Cargo.toml
} >"$crate/Cargo.toml"

for target in x86_64-pc-windows-gnu aarch64-apple-darwin; do
  rustup target add "$target" 2>/dev/null || true
  echo "Checking the editor's window for $target"
  # One file of Objective-C without headers comes with the macOS crates; SDKROOT keeps Apple's own tools from being asked for.
  (cd "$crate" && SDKROOT="${SDKROOT:-$crate}" CC_aarch64_apple_darwin="${CC_aarch64_apple_darwin:-clang}" \
    AR_aarch64_apple_darwin="${AR_aarch64_apple_darwin:-ar}" \
    CARGO_TARGET_DIR="$root/target/platforms/build" cargo clippy --quiet --target "$target" -- -D warnings)
done
