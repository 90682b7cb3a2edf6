// Draws everything on the canvas: quads (rounded boxes, shadows, glyphs, pictures, port shapes, the dot grid) and ribbons
// (links). Vertices are pulled from storage buffers; one instance is one quad or one ribbon. Positions are in canvas
// units (y down); `frame` places them on the target in physical pixels. Colours come as sRGB bytes and leave as linear
// premultiplied alpha.

struct Frame {
    // Where the canvas origin lies on the target, in whole physical pixels.
    origin_px: vec2<f32>,
    target_px: vec2<f32>,
    px_per_world: f32,
    time_s: f32,
    // Physical pixels per logical pixel.
    scale_factor: f32,
    // Segments of a ribbon.
    segments: f32,
}

struct Quad {
    center: vec2<f32>,
    half_size: vec2<f32>,
    kind: u32,
    fill: u32,
    stroke: u32,
    accent: u32,
    // Corner radius in canvas units, stroke width in logical pixels.
    radius: f32,
    stroke_width: f32,
    // Box: height of the coloured top edge in canvas units. Shadow: blur in canvas units. Picture: layer.
    extra: f32,
    shape: u32,
    uv_min: vec2<f32>,
    uv_max: vec2<f32>,
}

struct Ribbon {
    start: vec2<f32>,
    end: vec2<f32>,
    start_color: u32,
    end_color: u32,
    outline: u32,
    flags: u32,
    // Logical pixels at zoom 1 and above; thinner below.
    width: f32,
    // Length of the horizontal tangents in canvas units.
    handle: f32,
    // Approximate length in canvas units, for the dash.
    length: f32,
    // Colour of the moving dashes.
    pulse: u32,
    pad2: vec4<f32>,
}

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<storage, read> quads: array<Quad>;
@group(0) @binding(2) var<storage, read> ribbons: array<Ribbon>;
@group(0) @binding(3) var glyphs: texture_2d<f32>;
@group(0) @binding(4) var pictures: texture_2d_array<f32>;
@group(0) @binding(5) var smooth_sampler: sampler;

const KIND_BOX: u32 = 0u;
const KIND_SHADOW: u32 = 1u;
const KIND_GLYPH: u32 = 2u;
const KIND_PICTURE: u32 = 3u;
const KIND_SHAPE: u32 = 4u;
const KIND_GRID: u32 = 5u;

const SHAPE_CIRCLE: u32 = 0u;
const SHAPE_SQUARE: u32 = 1u;
const SHAPE_DIAMOND: u32 = 2u;
const SHAPE_TRIANGLE: u32 = 3u;
const SHAPE_RING: u32 = 4u;

const FLAG_FLOW: u32 = 1u;
const FLAG_DASHED: u32 = 2u;

fn linear_of(srgb: vec3<f32>) -> vec3<f32> {
    let low = srgb / 12.92;
    let high = pow((srgb + 0.055) / 1.055, vec3<f32>(2.4));
    return select(high, low, srgb <= vec3<f32>(0.04045));
}

// Straight-alpha linear colour of packed sRGB bytes.
fn color_of(packed: u32) -> vec4<f32> {
    let srgba = unpack4x8unorm(packed);
    return vec4<f32>(linear_of(srgba.rgb), srgba.a);
}

fn clip_of(px: vec2<f32>) -> vec4<f32> {
    let ndc = px / frame.target_px * 2.0 - 1.0;
    return vec4<f32>(ndc.x, -ndc.y, 0.0, 1.0);
}

struct QuadOut {
    @builtin(position) position: vec4<f32>,
    // From the centre, physical pixels.
    @location(0) at: vec2<f32>,
    @location(1) @interpolate(flat) half_size: vec2<f32>,
    @location(2) @interpolate(flat) fill: vec4<f32>,
    @location(3) @interpolate(flat) stroke: vec4<f32>,
    @location(4) @interpolate(flat) accent: vec4<f32>,
    // radius px, stroke px, extra px (or layer), mip level
    @location(5) @interpolate(flat) numbers: vec4<f32>,
    @location(6) @interpolate(flat) kind_shape: vec2<u32>,
    @location(7) uv: vec2<f32>,
}

@vertex
fn quad_vertex(@builtin(vertex_index) vertex: u32, @builtin(instance_index) index: u32) -> QuadOut {
    let quad = quads[index];
    let corner = vec2<f32>(f32(vertex & 1u), f32(vertex >> 1u)) * 2.0 - 1.0;
    var center = quad.center * frame.px_per_world + frame.origin_px;
    var half_size = quad.half_size * frame.px_per_world;
    var pad = 1.0;
    var extra = quad.extra;
    var level = 0.0;
    if quad.kind == KIND_GLYPH {
        // Glyph bitmaps are drawn texel by pixel; their size is in pixels.
        half_size = quad.half_size;
        center = round(center - half_size) + half_size;
        pad = 0.0;
    } else if quad.kind == KIND_BOX || quad.kind == KIND_PICTURE {
        // Edges lie on pixel boundaries, so that 1 px lines are 1 px.
        let low = round(center - half_size);
        let high = max(round(center + half_size), low + 1.0);
        center = (low + high) * 0.5;
        half_size = (high - low) * 0.5;
        if quad.kind == KIND_PICTURE {
            let texels = (quad.uv_max - quad.uv_min) * f32(textureDimensions(pictures).x);
            let per_px = max(texels.x / (2.0 * half_size.x), texels.y / (2.0 * half_size.y));
            level = max(log2(max(per_px, 0.0001)), 0.0);
        } else {
            extra = max(round(quad.extra * frame.px_per_world), select(0.0, 1.0, quad.extra > 0.0));
        }
    } else if quad.kind == KIND_SHADOW {
        extra = quad.extra * frame.px_per_world;
        pad = extra + 1.0;
    } else if quad.kind == KIND_GRID {
        center = frame.target_px * 0.5;
        half_size = center;
        pad = 0.0;
    }
    let at = corner * (half_size + pad);
    var out: QuadOut;
    out.position = clip_of(center + at);
    out.at = at;
    out.half_size = half_size;
    out.fill = color_of(quad.fill);
    out.stroke = color_of(quad.stroke);
    out.accent = color_of(quad.accent);
    out.numbers = vec4<f32>(
        min(quad.radius * frame.px_per_world, min(half_size.x, half_size.y)),
        quad.stroke_width * frame.scale_factor,
        extra,
        level,
    );
    out.kind_shape = vec2<u32>(quad.kind, quad.shape);
    let unit = at / half_size * 0.5 + 0.5;
    out.uv = mix(quad.uv_min, quad.uv_max, unit);
    return out;
}

fn round_box(at: vec2<f32>, half_size: vec2<f32>, radius: f32) -> f32 {
    let q = abs(at) - half_size + radius;
    return length(max(q, vec2<f32>(0.0))) + min(max(q.x, q.y), 0.0) - radius;
}

fn shape_distance(at: vec2<f32>, r: f32, shape: u32) -> f32 {
    switch shape {
        case SHAPE_SQUARE: { return round_box(at, vec2<f32>(r * 0.86), r * 0.22); }
        case SHAPE_DIAMOND: { return (abs(at.x) + abs(at.y)) * 0.7071 - r * 0.78; }
        case SHAPE_TRIANGLE: {
            let side = max(at.x * 0.5 + abs(at.y) * 0.866, -at.x);
            return side - r * 0.58;
        }
        default: { return length(at) - r; }
    }
}

// How much a letter covers. Colours are mixed as light, which makes dark letters on a light ground thin: their edges count for
// more.
fn inked(color: vec4<f32>, coverage: f32) -> f32 {
    let lightness = dot(color.rgb, vec3<f32>(0.2126, 0.7152, 0.0722));
    let fuller = coverage * (2.0 - coverage);
    return mix(fuller, coverage, smoothstep(0.1, 0.3, lightness));
}

fn premultiplied(color: vec4<f32>, coverage: f32) -> vec4<f32> {
    let alpha = color.a * clamp(coverage, 0.0, 1.0);
    return vec4<f32>(color.rgb * alpha, alpha);
}

fn over(top: vec4<f32>, below: vec4<f32>) -> vec4<f32> {
    return top + below * (1.0 - top.a);
}

@fragment
fn quad_fragment(in: QuadOut) -> @location(0) vec4<f32> {
    let radius = in.numbers.x;
    let stroke_px = in.numbers.y;
    let extra = in.numbers.z;
    switch in.kind_shape.x {
        case KIND_GLYPH: {
            return premultiplied(in.fill, inked(in.fill, textureSampleLevel(glyphs, smooth_sampler, in.uv, 0.0).r));
        }
        case KIND_PICTURE: {
            let inside = 0.5 - round_box(in.at, in.half_size, radius);
            let texel = textureSampleLevel(pictures, smooth_sampler, in.uv, i32(extra), in.numbers.w);
            return premultiplied(vec4<f32>(texel.rgb, texel.a * in.fill.a), inside);
        }
        case KIND_SHADOW: {
            let d = round_box(in.at, in.half_size, radius);
            let fade = clamp(1.0 - d / max(extra, 0.5), 0.0, 1.0);
            return premultiplied(in.fill, fade * fade);
        }
        case KIND_SHAPE: {
            let r = min(in.half_size.x, in.half_size.y);
            let d = shape_distance(in.at, r, in.kind_shape.y);
            var body = premultiplied(in.fill, 0.5 - d);
            if in.kind_shape.y == SHAPE_RING {
                body = over(premultiplied(in.accent, 0.5 - (d + r * 0.42)), body);
            }
            let edge = premultiplied(in.stroke, 0.5 - (d - stroke_px));
            return over(body, edge);
        }
        case KIND_GRID: {
            // Dots at the corners of a grid whose pitch doubles as the view zooms out.
            let px = in.at + in.half_size - frame.origin_px;
            let pitch_px = extra * frame.px_per_world;
            let cell = px / pitch_px;
            let nearest = (cell - round(cell)) * pitch_px;
            let dot_radius = 0.8 * frame.scale_factor;
            return premultiplied(in.fill, dot_radius + 0.5 - length(nearest));
        }
        default: {
            let d = round_box(in.at, in.half_size, radius);
            let inside = 0.5 - d;
            if inside <= 0.0 {
                return vec4<f32>(0.0);
            }
            var color = in.fill;
            // Inside the stroke, the coloured top edge, then the fill.
            if extra > 0.0 {
                let edge = clamp(extra - in.half_size.y - in.at.y + 0.5, 0.0, 1.0) * in.accent.a;
                color = vec4<f32>(mix(color.rgb, in.accent.rgb, edge), max(color.a, edge));
            }
            if stroke_px > 0.0 {
                let rim = clamp(d + stroke_px + 0.5, 0.0, 1.0);
                let top = premultiplied(in.stroke, rim);
                let blended = over(top, vec4<f32>(color.rgb * color.a, color.a));
                return blended * clamp(inside, 0.0, 1.0);
            }
            return premultiplied(color, inside);
        }
    }
}

struct RibbonOut {
    @builtin(position) position: vec4<f32>,
    // Across, in physical pixels from the middle.
    @location(0) across: f32,
    // Along, in logical pixels from the start.
    @location(1) along: f32,
    @location(2) color: vec4<f32>,
    @location(3) @interpolate(flat) outline: vec4<f32>,
    @location(4) @interpolate(flat) half_width: f32,
    @location(5) @interpolate(flat) flags: u32,
    @location(6) @interpolate(flat) pulse: vec4<f32>,
}

@vertex
fn ribbon_vertex(@builtin(vertex_index) vertex: u32, @builtin(instance_index) index: u32) -> RibbonOut {
    let ribbon = ribbons[index];
    let t = f32(vertex >> 1u) / frame.segments;
    let side = f32(vertex & 1u) * 2.0 - 1.0;
    let p0 = ribbon.start;
    let p1 = ribbon.start + vec2<f32>(ribbon.handle, 0.0);
    let p2 = ribbon.end - vec2<f32>(ribbon.handle, 0.0);
    let p3 = ribbon.end;
    let u = 1.0 - t;
    let at = u * u * u * p0 + 3.0 * u * u * t * p1 + 3.0 * u * t * t * p2 + t * t * t * p3;
    var tangent = u * u * (p1 - p0) + 2.0 * u * t * (p2 - p1) + t * t * (p3 - p2);
    if dot(tangent, tangent) < 0.000001 {
        tangent = vec2<f32>(1.0, 0.0);
    }
    tangent = normalize(tangent);
    let normal = vec2<f32>(-tangent.y, tangent.x);
    let width = ribbon.width * frame.scale_factor
        * clamp(sqrt(frame.px_per_world / frame.scale_factor), 0.45, 1.6);
    let half_width = width * 0.5;
    let reach = half_width + 2.0 * frame.scale_factor;
    var out: RibbonOut;
    let px = at * frame.px_per_world + frame.origin_px + normal * side * reach;
    out.position = clip_of(px);
    out.across = side * reach;
    out.along = t * ribbon.length * frame.px_per_world / frame.scale_factor;
    out.color = mix(color_of(ribbon.start_color), color_of(ribbon.end_color), t);
    out.outline = color_of(ribbon.outline);
    out.half_width = half_width;
    out.flags = ribbon.flags;
    out.pulse = color_of(ribbon.pulse);
    return out;
}

@fragment
fn ribbon_fragment(in: RibbonOut) -> @location(0) vec4<f32> {
    let d = abs(in.across) - in.half_width;
    var color = in.color;
    var coverage = 0.5 - d;
    if (in.flags & FLAG_DASHED) != 0u {
        let phase = fract(in.along / 10.0) * 10.0;
        coverage = min(coverage, 0.5 + 6.0 - phase);
    }
    if (in.flags & FLAG_FLOW) != 0u {
        // A slow dash that moves with the data, never blinking.
        let phase = fract((in.along - frame.time_s * 28.0) / 26.0) * 26.0;
        let dash = smoothstep(0.0, 4.0, phase) * (1.0 - smoothstep(9.0, 13.0, phase));
        color = mix(color, vec4<f32>(in.pulse.rgb, 1.0), dash * in.pulse.a);
    }
    let core = premultiplied(color, coverage);
    let rim = premultiplied(in.outline, 0.5 - (d - 1.25 * frame.scale_factor));
    return over(core, rim);
}
