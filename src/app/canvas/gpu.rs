//! The GPU side of the canvas: one pass in the camera's 2D schedule that draws the scene from storage buffers.
//!
//! The scene is handed over whole when it was rebuilt; panning only changes the uniform. Glyphs and pictures arrive as
//! patches of their textures.

use super::instance::{DrawRange, Scene, Words};
use super::text::{ATLAS_SIDE, AtlasPatch};
use crate::app::previews::{PICTURE_LAYERS, PICTURE_LEVELS, PICTURE_SIDE, PictureUpload};
use bevy::asset::uuid_handle;
use bevy::core_pipeline::core_2d::main_transparent_pass_2d;
use bevy::core_pipeline::{Core2d, Core2dSystems};
use bevy::prelude::*;
use bevy::render::extract_component::{ExtractComponent, ExtractComponentPlugin};
use bevy::render::render_resource::binding_types::{
    sampler, storage_buffer_read_only_sized, texture_2d, texture_2d_array, uniform_buffer_sized,
};
use bevy::render::render_resource::{
    BindGroup, BindGroupEntries, BindGroupLayoutDescriptor, BindGroupLayoutEntries, BlendState,
    BufferUsages, CachedRenderPipelineId, ColorTargetState, ColorWrites, Extent3d, FilterMode,
    FragmentState, LoadOp, MipmapFilterMode, Operations, Origin3d, PipelineCache, PrimitiveState,
    PrimitiveTopology, RawBufferVec, RenderPassDescriptor, RenderPipelineDescriptor, Sampler,
    SamplerBindingType, SamplerDescriptor, ShaderStages, StoreOp, TexelCopyBufferLayout,
    TexelCopyTextureInfo, Texture, TextureAspect, TextureDescriptor, TextureDimension,
    TextureFormat, TextureSampleType, TextureUsages, TextureView, TextureViewDescriptor,
    TextureViewDimension, VertexState,
};
use bevy::render::renderer::{RenderContext, RenderDevice, RenderQueue, ViewQuery};
use bevy::render::view::ViewTarget;
use bevy::render::{ExtractSchedule, MainWorld, Render, RenderApp, RenderStartup, RenderSystems};

const SHADER: Handle<Shader> = uuid_handle!("6f1f6f0e-4a3e-4a57-9f0e-6c6f8e0b5a21");
/// What the target has: a window's or a target image's LDR format.
pub const TARGET_FORMAT: TextureFormat = TextureFormat::Rgba8UnormSrgb;
/// Words of the uniform `Frame` of the shader.
type FrameWords = [f32; 8];

/// The camera on which the canvas is drawn.
#[derive(Component, Clone, Copy, Debug, Default, ExtractComponent)]
pub struct CanvasCamera;

/// What the canvas wants on screen: written by the paint systems, taken over by the render world.
#[derive(Resource, Debug, Default)]
pub struct CanvasFrame {
    /// The instances.
    pub scene: Scene,
    /// Whether the scene was rebuilt since it was last taken over.
    pub scene_changed: bool,
    /// Where the canvas origin lies on the target, in whole physical pixels.
    pub origin_px: Vec2,
    /// Physical pixels per canvas unit.
    pub px_per_world: f32,
    /// Physical pixels per logical pixel.
    pub scale_factor: f32,
    /// Size of the target in physical pixels.
    pub target_px: Vec2,
    /// The part of the target that may be drawn on, physical pixels: x, y, width, height. Nothing is drawn when empty.
    pub scissor_px: [u32; 4],
    /// Seconds, for what moves.
    pub time_s: f32,
    /// Segments of a link.
    pub ribbon_segments: u32,
    /// New texels of the glyph atlas.
    pub glyph_patches: Vec<AtlasPatch>,
    /// New pictures.
    pub pictures: Vec<PictureUpload>,
}

/// Draws [`CanvasFrame`] on every [`CanvasCamera`].
#[derive(Debug)]
pub struct CanvasGpuPlugin;

impl Plugin for CanvasGpuPlugin {
    fn build(&self, app: &mut App) {
        app.init_resource::<CanvasFrame>()
            .add_plugins(ExtractComponentPlugin::<CanvasCamera>::default());
        if let Some(mut shaders) = app.world_mut().get_resource_mut::<Assets<Shader>>() {
            let shader = Shader::from_wgsl(
                include_str!("../../../assets/shaders/canvas.wgsl"),
                "assets/shaders/canvas.wgsl",
            );
            if let Err(error) = shaders.insert(&SHADER, shader) {
                error!("The canvas shader could not be registered: {error}.");
            }
        }
        let Some(render_app) = app.get_sub_app_mut(RenderApp) else {
            return;
        };
        render_app
            .init_resource::<FrameOnGpu>()
            .add_systems(RenderStartup, create_resources)
            .add_systems(ExtractSchedule, take_over_frame)
            .add_systems(Render, upload.in_set(RenderSystems::PrepareResources))
            .add_systems(
                Core2d,
                draw.in_set(Core2dSystems::MainPass)
                    .after(main_transparent_pass_2d),
            );
    }
}

/// The frame as the render world has it.
#[derive(Resource)]
struct FrameOnGpu {
    uniform: RawBufferVec<FrameWords>,
    quads: RawBufferVec<Words>,
    ribbons: RawBufferVec<Words>,
    ranges: Vec<DrawRange>,
    changed: bool,
    scissor_px: [u32; 4],
    ribbon_segments: u32,
    glyph_patches: Vec<AtlasPatch>,
    pictures: Vec<PictureUpload>,
    bind_group: Option<BindGroup>,
}

impl Default for FrameOnGpu {
    fn default() -> Self {
        Self {
            uniform: RawBufferVec::new(BufferUsages::UNIFORM),
            quads: RawBufferVec::new(BufferUsages::STORAGE),
            ribbons: RawBufferVec::new(BufferUsages::STORAGE),
            ranges: Vec::new(),
            changed: false,
            scissor_px: [0; 4],
            ribbon_segments: 24,
            glyph_patches: Vec::new(),
            pictures: Vec::new(),
            bind_group: None,
        }
    }
}

#[derive(Resource)]
struct CanvasResources {
    layout: BindGroupLayoutDescriptor,
    quad_pipeline: CachedRenderPipelineId,
    ribbon_pipeline: CachedRenderPipelineId,
    glyphs: Texture,
    glyphs_view: TextureView,
    pictures: Texture,
    pictures_view: TextureView,
    sampler: Sampler,
}

fn create_resources(mut commands: Commands, device: Res<RenderDevice>, cache: Res<PipelineCache>) {
    let layout = BindGroupLayoutDescriptor::new(
        "canvas",
        &BindGroupLayoutEntries::sequential(
            ShaderStages::VERTEX_FRAGMENT,
            (
                uniform_buffer_sized(false, None),
                storage_buffer_read_only_sized(false, None),
                storage_buffer_read_only_sized(false, None),
                texture_2d(TextureSampleType::Float { filterable: true }),
                texture_2d_array(TextureSampleType::Float { filterable: true }),
                sampler(SamplerBindingType::Filtering),
            ),
        ),
    );
    let pipeline = |label: &'static str, vertex: &'static str, fragment: &'static str| {
        cache.queue_render_pipeline(RenderPipelineDescriptor {
            label: Some(label.into()),
            layout: vec![layout.clone()],
            vertex: VertexState {
                shader: SHADER,
                entry_point: Some(vertex.into()),
                ..default()
            },
            fragment: Some(FragmentState {
                shader: SHADER,
                entry_point: Some(fragment.into()),
                targets: vec![Some(ColorTargetState {
                    format: TARGET_FORMAT,
                    blend: Some(BlendState::PREMULTIPLIED_ALPHA_BLENDING),
                    write_mask: ColorWrites::ALL,
                })],
                ..default()
            }),
            primitive: PrimitiveState {
                topology: PrimitiveTopology::TriangleStrip,
                ..default()
            },
            ..default()
        })
    };
    let quad_pipeline = pipeline("canvas quads", "quad_vertex", "quad_fragment");
    let ribbon_pipeline = pipeline("canvas ribbons", "ribbon_vertex", "ribbon_fragment");
    let texture = |label, side, layers, levels, format| {
        device.create_texture(&TextureDescriptor {
            label: Some(label),
            size: Extent3d {
                width: side,
                height: side,
                depth_or_array_layers: layers,
            },
            mip_level_count: levels,
            sample_count: 1,
            dimension: TextureDimension::D2,
            format,
            usage: TextureUsages::TEXTURE_BINDING | TextureUsages::COPY_DST,
            view_formats: &[],
        })
    };
    let glyphs = texture("canvas glyphs", ATLAS_SIDE, 1, 1, TextureFormat::R8Unorm);
    let pictures = texture(
        "canvas pictures",
        PICTURE_SIDE,
        PICTURE_LAYERS,
        PICTURE_LEVELS,
        TextureFormat::Rgba8UnormSrgb,
    );
    let glyphs_view = glyphs.create_view(&TextureViewDescriptor::default());
    let pictures_view = pictures.create_view(&TextureViewDescriptor {
        dimension: Some(TextureViewDimension::D2Array),
        ..default()
    });
    let sampler = device.create_sampler(&SamplerDescriptor {
        label: Some("canvas"),
        mag_filter: FilterMode::Linear,
        min_filter: FilterMode::Linear,
        mipmap_filter: MipmapFilterMode::Linear,
        ..default()
    });
    commands.insert_resource(CanvasResources {
        layout,
        quad_pipeline,
        ribbon_pipeline,
        glyphs,
        glyphs_view,
        pictures,
        pictures_view,
        sampler,
    });
}

/// Moves what changed out of the main world. The vectors are swapped, so neither side allocates anew.
fn take_over_frame(mut main_world: ResMut<MainWorld>, mut gpu: ResMut<FrameOnGpu>) {
    let Some(mut frame) = main_world.get_resource_mut::<CanvasFrame>() else {
        return;
    };
    let frame = frame.bypass_change_detection();
    if frame.scene_changed {
        frame.scene_changed = false;
        std::mem::swap(&mut frame.scene.quads, gpu.quads.values_mut());
        std::mem::swap(&mut frame.scene.ribbons, gpu.ribbons.values_mut());
        std::mem::swap(&mut frame.scene.ranges, &mut gpu.ranges);
        gpu.changed = true;
    }
    gpu.glyph_patches.append(&mut frame.glyph_patches);
    gpu.pictures.append(&mut frame.pictures);
    gpu.scissor_px = frame.scissor_px;
    gpu.ribbon_segments = frame.ribbon_segments;
    gpu.uniform.clear();
    gpu.uniform.push([
        frame.origin_px.x,
        frame.origin_px.y,
        frame.target_px.x,
        frame.target_px.y,
        frame.px_per_world,
        frame.time_s,
        frame.scale_factor,
        frame.ribbon_segments as f32,
    ]);
}

fn upload(
    mut gpu: ResMut<FrameOnGpu>,
    resources: Option<Res<CanvasResources>>,
    device: Res<RenderDevice>,
    queue: Res<RenderQueue>,
    cache: Res<PipelineCache>,
) {
    let Some(resources) = resources else {
        return;
    };
    let gpu = &mut *gpu;
    gpu.uniform.write_buffer(&device, &queue);
    if gpu.changed || gpu.bind_group.is_none() {
        gpu.changed = false;
        let before = (gpu.quads.capacity(), gpu.ribbons.capacity());
        // Room to grow, so that a slightly larger scene needs no new buffer; never empty, so that it can be bound.
        let quads = gpu.quads.len().next_power_of_two().max(1024);
        let ribbons = gpu.ribbons.len().next_power_of_two().max(256);
        gpu.quads.reserve(quads, &device);
        gpu.ribbons.reserve(ribbons, &device);
        gpu.quads.write_buffer(&device, &queue);
        gpu.ribbons.write_buffer(&device, &queue);
        if before != (gpu.quads.capacity(), gpu.ribbons.capacity()) {
            gpu.bind_group = None;
        }
    }
    if gpu.bind_group.is_none()
        && let (Some(uniform), Some(quads), Some(ribbons)) = (
            gpu.uniform.binding(),
            gpu.quads.binding(),
            gpu.ribbons.binding(),
        )
    {
        gpu.bind_group = Some(device.create_bind_group(
            "canvas",
            &cache.get_bind_group_layout(&resources.layout),
            &BindGroupEntries::sequential((
                uniform,
                quads,
                ribbons,
                &resources.glyphs_view,
                &resources.pictures_view,
                &resources.sampler,
            )),
        ));
    }
    for patch in gpu.glyph_patches.drain(..) {
        write_texels(
            &queue,
            &resources.glyphs,
            0,
            Origin3d {
                x: patch.at.x,
                y: patch.at.y,
                z: 0,
            },
            patch.size,
            1,
            &patch.texels,
        );
    }
    for picture in gpu.pictures.drain(..) {
        for (level, texels) in picture.levels.iter().enumerate() {
            let side = (PICTURE_SIDE >> level).max(1);
            write_texels(
                &queue,
                &resources.pictures,
                level as u32,
                Origin3d {
                    x: 0,
                    y: 0,
                    z: picture.layer,
                },
                UVec2::splat(side),
                4,
                texels,
            );
        }
    }
}

fn write_texels(
    queue: &RenderQueue,
    texture: &Texture,
    mip_level: u32,
    origin: Origin3d,
    size: UVec2,
    bytes_per_texel: u32,
    texels: &[u8],
) {
    if texels.len() < (size.x * size.y * bytes_per_texel) as usize {
        return;
    }
    queue.write_texture(
        TexelCopyTextureInfo {
            texture,
            mip_level,
            origin,
            aspect: TextureAspect::All,
        },
        texels,
        TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(size.x * bytes_per_texel),
            rows_per_image: None,
        },
        Extent3d {
            width: size.x,
            height: size.y,
            depth_or_array_layers: 1,
        },
    );
}

fn draw(
    view: ViewQuery<(&ViewTarget, &CanvasCamera)>,
    gpu: Res<FrameOnGpu>,
    resources: Option<Res<CanvasResources>>,
    cache: Res<PipelineCache>,
    mut context: RenderContext,
) {
    let (target, _) = view.into_inner();
    let Some(resources) = resources else {
        return;
    };
    let (Some(quad_pipeline), Some(ribbon_pipeline), Some(bind_group)) = (
        cache.get_render_pipeline(resources.quad_pipeline),
        cache.get_render_pipeline(resources.ribbon_pipeline),
        gpu.bind_group.as_ref(),
    ) else {
        return;
    };
    if target.main_texture_format() != TARGET_FORMAT {
        return;
    }
    let size = target.main_texture().size();
    let [x, y, width, height] = gpu.scissor_px;
    let width = width.min(size.width.saturating_sub(x));
    let height = height.min(size.height.saturating_sub(y));
    if width == 0 || height == 0 || gpu.ranges.is_empty() {
        return;
    }
    let mut color = target.get_color_attachment();
    color.ops = Operations {
        load: match color.ops.load {
            LoadOp::Clear(clear) => LoadOp::Clear(clear),
            _ => LoadOp::Load,
        },
        store: StoreOp::Store,
    };
    let mut pass = context.begin_tracked_render_pass(RenderPassDescriptor {
        label: Some("canvas"),
        color_attachments: &[Some(color)],
        depth_stencil_attachment: None,
        timestamp_writes: None,
        occlusion_query_set: None,
        multiview_mask: None,
    });
    pass.set_scissor_rect(x, y, width, height);
    for range in &gpu.ranges {
        match *range {
            DrawRange::Quads(from, to) => {
                pass.set_render_pipeline(quad_pipeline);
                pass.set_bind_group(0, bind_group, &[]);
                pass.draw(0..4, from..to);
            }
            DrawRange::Ribbons(from, to) => {
                pass.set_render_pipeline(ribbon_pipeline);
                pass.set_bind_group(0, bind_group, &[]);
                pass.draw(0..(gpu.ribbon_segments + 1) * 2, from..to);
            }
        }
    }
}
