#!/usr/bin/env bash
# Installs the system packages that building, testing and the demo need, on Debian and Ubuntu. Says what it installs.
# Elsewhere it names what to look for and lets the build say what is missing.
set -euo pipefail

packages=(
  build-essential pkg-config          # C compiler for SQLite and ring; finds libraries
  libx11-dev libxkbcommon-dev         # windows and keyboards under X11
  libxkbcommon-x11-0 libxcursor1 libxrandr2 libxi6
  libwayland-dev                      # windows under Wayland
  libwebkit2gtk-4.1-dev               # the window of ComfyUI's own editor
  libvulkan1 mesa-vulkan-drivers      # drawing; Mesa also draws without a GPU
  xvfb xauth                          # a display for tests where there is none
  xdotool                             # keys for tests of the editor's window
  strace                              # a test that follows what is flushed to the disk
)

if ! command -v apt-get >/dev/null 2>&1; then
  echo "Not a Debian or Ubuntu system: install the equivalents of: ${packages[*]}"
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

sudo=()
[ "$(id -u)" -eq 0 ] || sudo=(sudo)
echo "Installing system packages: ${missing[*]}"
"${sudo[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
