//! CPU time of the canvas's part of a frame while panning, at 1,000, 10,000 and 100,000 nodes with twice as many links.
//!
//! Runs the real systems of model and canvas without a GPU: what is measured is reading the camera, deciding what is
//! visible, and building the instances. Prints p50, p99 and the largest time of each case.
//! `cargo bench --bench canvas`

use bevy::prelude::*;
use comfyui_orchestrator::app::canvas::CanvasDrawPlugin;
use comfyui_orchestrator::app::canvas::camera::ViewTransform;
use comfyui_orchestrator::app::canvas::gpu::{CanvasCamera, CanvasFrame};
use comfyui_orchestrator::app::document::Document;
use comfyui_orchestrator::app::viewport::CanvasViewport;
use comfyui_orchestrator::project::{
    Affinity, CachePolicy, DataType, Fallback, Link, LinkId, Node, NodeId, NodeKind, OnFailure,
    Port, PortBinding, PortId, PortNeed, PortRef, Project, ProjectId, RetryPolicy, WorkflowName,
    WorkflowNode,
};
use std::time::{Duration, Instant};

/// Frames that are measured per case.
const FRAMES: usize = 600;
/// Size of the view in logical pixels.
const VIEW_PX: Vec2 = Vec2::new(1680.0, 1020.0);

fn main() {
    println!(
        "CPU time of the canvas per frame while panning (budget: p99 4 ms at 10,000 nodes, 16 ms at 100,000)"
    );
    println!(
        "{:>8} {:>8} {:>6} {:>9} {:>9} {:>9} {:>10}",
        "nodes", "links", "zoom", "p50", "p99", "max", "instances"
    );
    for nodes in [1_000, 10_000, 100_000] {
        for zoom in [1.0, 0.5, 0.2, 0.05] {
            measure(nodes, zoom);
        }
    }
}

fn measure(nodes: usize, zoom: f32) {
    let project = grid(nodes);
    let links = project.links.len();
    let mut app = App::new();
    app.add_plugins((
        MinimalPlugins,
        AssetPlugin::default(),
        bevy::window::WindowPlugin {
            primary_window: None,
            ..default()
        },
    ))
    .insert_resource(ClearColor::default())
    .add_plugins(CanvasDrawPlugin)
    .insert_resource(Document::new(project, None))
    .insert_resource(ViewTransform::default())
    .insert_resource(CanvasViewport {
        rect_px: Some(Rect::from_corners(Vec2::ZERO, VIEW_PX)),
        ui_scale: 1.0,
        ..default()
    });
    app.finish();
    app.cleanup();
    for _ in 0..4 {
        app.update();
    }
    let world = app.world_mut();
    let mut cameras =
        world.query_filtered::<(&mut Transform, &mut Projection), With<CanvasCamera>>();
    let start = Vec2::new(2_000.0, 2_000.0);
    let mut place = |world: &mut World, at: Vec2| {
        for (mut transform, mut projection) in cameras.iter_mut(world) {
            transform.translation = Vec3::new(at.x, -at.y, transform.translation.z);
            if let Projection::Orthographic(orthographic) = &mut *projection {
                orthographic.scale = 1.0 / zoom;
            }
        }
    };
    place(app.world_mut(), start);
    app.update();
    let mut times = Vec::with_capacity(FRAMES);
    let mut instances = 0;
    for frame in 0..FRAMES {
        // A brisk pan: 25 logical pixels per frame, turning slowly.
        let angle = frame as f32 * 0.01;
        let at = start + Vec2::from_angle(angle) * frame as f32 * 25.0 / zoom;
        place(app.world_mut(), at);
        let before = Instant::now();
        app.update();
        times.push(before.elapsed());
        if let Some(mut frame) = app.world_mut().get_resource_mut::<CanvasFrame>() {
            instances = instances.max(frame.scene.quads.len() + frame.scene.ribbons.len());
            // What the render world would take over.
            frame.scene_changed = false;
            frame.glyph_patches.clear();
        }
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{nodes:>8} {links:>8} {:>5.0}% {:>9} {:>9} {:>9} {instances:>10}",
        zoom * 100.0,
        text(at(0.5)),
        text(at(0.99)),
        text(at(1.0)),
    );
}

fn text(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

/// A grid of Workflow nodes, each linked to its right and its lower neighbour.
fn grid(count: usize) -> Project {
    let mut project = Project::new(ProjectId::new_now(), "bench");
    let columns = (count as f64).sqrt().ceil() as usize;
    let Some(workflow) = WorkflowName::new("text-to-image") else {
        return project;
    };
    let port = |name: &str| Port {
        id: PortId::new_now(),
        name: name.to_owned(),
        data_type: DataType::Image,
        binding: PortBinding::Value,
        need: PortNeed::Optional,
    };
    let mut made: Vec<(NodeId, [PortId; 2], PortId)> = Vec::with_capacity(count);
    for at in 0..count {
        let (column, row) = (at % columns, at / columns);
        let inputs = vec![port("image"), port("style")];
        let outputs = vec![port("image")];
        let node = Node {
            id: NodeId::new_now(),
            title: format!("Text to image {at}"),
            pos_world: [column as f32 * 300.0, row as f32 * 180.0],
            width_world: 220.0,
            kind: NodeKind::Workflow(WorkflowNode {
                workflow: workflow.clone(),
                parameters: Vec::new(),
                affinity: Affinity::default(),
                fallback: Fallback::default(),
                retry: RetryPolicy::default(),
                cache: CachePolicy::default(),
            }),
            inputs,
            outputs,
            on_failure: OnFailure::default(),
        };
        made.push((
            node.id,
            [node.inputs[0].id, node.inputs[1].id],
            node.outputs[0].id,
        ));
        project.nodes.insert(node.id, node);
    }
    for at in 0..count {
        let right = (at + 1 < count && (at + 1) % columns != 0).then_some((at + 1, 0));
        let below = (at + columns < count).then_some((at + columns, 1));
        for (other, input) in right.into_iter().chain(below) {
            let (from, to) = (&made[at], &made[other]);
            project.links.insert(Link {
                id: LinkId::new_now(),
                from: PortRef {
                    node: from.0,
                    port: from.2,
                },
                to: PortRef {
                    node: to.0,
                    port: to.1[input],
                },
            });
        }
    }
    project
}
