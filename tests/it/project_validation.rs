//! What is wrong with a document, and which fan-outs are open where.

use super::project::{Bench, file, name};
use comfyui_orchestrator::project::*;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Two fan-outs side by side into one node, then a Merge.
fn side_by_side(closes: impl FnOnce(NodeId) -> MergeScope) -> (Bench, NodeId) {
    let mut bench = Bench::new();
    let (f, g) = (bench.seeds("F", 3), bench.seeds("G", 2));
    let draw = bench.draw("draw");
    let node = bench.project.nodes[&draw].clone();
    // Let the second input take a number too.
    let mut wide = node;
    wide.inputs[1].data_type = DataType::Any;
    bench.project.apply(Edit::configure(wide)).unwrap();
    bench.link((f, "F"), (draw, "seed"));
    bench.link((g, "G"), (draw, "image"));
    let settings = MergeNode {
        closes: closes(g),
        ..MergeNode::default()
    };
    let merge = bench.merge("Merge", settings);
    bench.link((draw, "image"), (merge, "values"));
    let output = bench.output();
    bench.link((merge, "contact sheet"), (output, "value"));
    (bench, merge)
}

#[test]
fn a_merge_must_name_what_it_closes_where_two_are_open_side_by_side() {
    // Example 9 of the run semantics.
    let (bench, merge) = side_by_side(|_| MergeScope::Innermost);
    let problems = bench.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].node, Some(merge));
    assert_eq!(
        problems[0].kind.to_string(),
        "Merge must name which of \"F\" and \"G\" it closes"
    );
    // Examples 8 and 10.
    let (bench, merge) = side_by_side(MergeScope::FanOut);
    assert_eq!(bench.problems(), []);
    let open = OpenFanOuts::of(&bench.project);
    assert_eq!(open.into_node(merge).len(), 2);
    let output = *bench.project.nodes.keys().last().unwrap();
    assert_eq!(open.into_node(output).len(), 1);
    let (bench, _) = side_by_side(|_| MergeScope::AllOpen);
    assert_eq!(bench.problems(), []);
    // Naming one that is not open.
    let (bench, merge) = side_by_side(|_| MergeScope::FanOut(NodeId::from_uuid(Uuid::nil())));
    let text = bench.problems()[0].to_string();
    assert!(
        text.contains("a node that is gone, which is not open here"),
        "{text}"
    );
    let open = OpenFanOuts::of(&bench.project);
    assert!(matches!(
        open.closed_by(merge),
        Some(Err(MergeFault::NotOpen(_)))
    ));
}

#[test]
fn nested_fan_outs_close_from_the_inside() {
    // Example 5: F → G per value → W → M → M2 → O.
    let mut bench = Bench::new();
    let outer = bench.seeds("F", 3);
    let id = bench.ids.node();
    let source = FanOutSource::Range {
        axis: "G".to_owned(),
        start: 0.0,
        step: 1.0,
        count: 2,
    };
    let inner = Node::fan_out_per_value(id, source, DataType::Integer, &mut || bench.ids.port());
    let inner = bench.add(inner.titled("G"));
    let draw = bench.draw("draw");
    let first = bench.merge("M", MergeNode::default());
    let second = bench.merge("M2", MergeNode::default());
    let third = bench.merge("M3", MergeNode::default());
    bench.link((outer, "F"), (inner, "value"));
    bench.link((inner, "G"), (draw, "seed"));
    bench.link((draw, "image"), (first, "values"));
    bench.link((first, "list"), (second, "values"));
    let open = OpenFanOuts::of(&bench.project);
    assert_eq!(open.into_node(draw), [outer, inner]);
    assert_eq!(open.closed_by(first), Some(Ok(&[inner][..])));
    assert_eq!(open.closed_by(second), Some(Ok(&[outer][..])));
    // A third has nothing to close, and says so; unlinked it only lacks its input.
    assert_eq!(
        bench
            .problems()
            .into_iter()
            .map(|p| p.kind)
            .collect::<Vec<_>>(),
        [ProblemKind::MissingInput {
            port: "values".to_owned()
        }]
    );
    bench.link((second, "list"), (third, "values"));
    assert_eq!(bench.problems()[0].kind, ProblemKind::NothingToMerge);
    assert_eq!(bench.problems()[0].node, Some(third));
}

#[test]
fn every_problem_is_reported_at_once_with_its_node() {
    let mut bench = Bench::new();
    let seeds = bench.seeds("F", 2_000_000);
    let draw = bench.draw("draw");
    let lonely = bench.merge("lonely", MergeNode::default());
    let id = bench.ids.node();
    let condition = Node::condition(id, "  ", DataType::Image, &mut || bench.ids.port());
    let condition = bench.add(condition.titled("if"));
    let id = bench.ids.node();
    let file_input = Node::input_file(id, "../../etc/passwd", DataType::Image, &mut || {
        bench.ids.port()
    });
    let file_input = bench.add(file_input);
    let output = bench.output();
    let id = bench.ids.node();
    let named_wrong = OutputNode {
        template: "{label:colour}.{ext}".to_owned(),
    };
    let named_wrong = Node::output_to(id, named_wrong, DataType::Image, &mut || bench.ids.port());
    let named_wrong = bench.add(named_wrong);
    bench.link((seeds, "F"), (draw, "seed"));
    bench.link((draw, "image"), (condition, "value"));
    bench.link((condition, "true"), (output, "value"));
    bench.link((file_input, "value"), (named_wrong, "value"));
    // What a person can do to a file with an editor: links of wrong types, to nowhere, in a circle.
    let wrong_type = Link {
        id: bench.ids.link(),
        from: bench.out(seeds, "F"),
        to: bench.input(output, "value"),
    };
    let dangling = Link {
        id: bench.ids.link(),
        from: PortRef {
            node: bench.ids.node(),
            port: bench.ids.port(),
        },
        to: bench.input(lonely, "values"),
    };
    let circle = Link {
        id: bench.ids.link(),
        from: bench.out(condition, "false"),
        to: bench.input(draw, "image"),
    };
    let nowhere = Link {
        to: PortRef {
            node: output,
            port: bench.ids.port(),
        },
        ..wrong_type
    };
    let nowhere = Link {
        id: bench.ids.link(),
        ..nowhere
    };
    for link in [wrong_type, dangling, circle, nowhere] {
        bench.project.links.insert(link);
    }
    let prompt = r#"{"9": {"class_type": "SaveImage", "inputs": {}}}"#;
    bench
        .project
        .apply(Edit::ReplaceWorkflow {
            name: name("draw"),
            file: file(prompt),
        })
        .unwrap();
    if let NodeKind::Output(settings) = &mut bench.project.nodes.get_mut(&output).unwrap().kind {
        settings.template = "../{node}".to_owned();
    }

    let problems = bench.problems();
    let about = |node: NodeId, expected: &str| {
        let mut of_node = problems.iter().filter(|problem| problem.node == Some(node));
        assert!(
            of_node.any(|problem| problem.to_string().contains(expected)),
            "no {expected:?} in {problems:#?}"
        );
    };
    about(seeds, "more than the 1000000");
    about(
        draw,
        "its parameter \"steps\" is broken: the workflow no longer has #3 KSampler",
    );
    about(draw, "its port \"seed\" is broken");
    about(condition, "expression is empty");
    about(file_input, "outside the project's inputs folder");
    about(output, "\"F\" gives Integer, but \"value\" takes Image");
    about(output, "has the folder \"..\"");
    about(output, "input where the link ends does not exist");
    about(lonely, "output where the link starts does not exist");
    about(named_wrong, "axis \"colour\"");
    let circles: Vec<&Problem> = problems
        .iter()
        .filter(|problem| matches!(problem.kind, ProblemKind::Cycle { .. }))
        .collect();
    assert_eq!(circles.len(), 1);
    let circle = circles[0].to_string();
    assert!(
        circle.contains("draw → if → draw") || circle.contains("if → draw → if"),
        "{circle}"
    );

    // The same damaged document can still be edited, and undone to the byte.
    let before = bench.bytes();
    let mut history = History::default();
    for node_id in [output, draw, lonely] {
        let remove = vec![Edit::RemoveNode(node_id)];
        history
            .apply(&mut bench.project, "Delete", remove, None)
            .unwrap();
    }
    while history.undo(&mut bench.project).unwrap().is_some() {}
    assert_eq!(bench.bytes(), before);
}

#[test]
fn workflows_that_cannot_run_are_named() {
    let mut bench = Bench::new();
    bench.draw("draw");
    for (text, expected) in [
        ("<html>", "this is not JSON"),
        (r#"{"nodes": [], "links": []}"#, "no longer has #3 KSampler"),
        ("{}", "\"draw\""),
    ] {
        let edit = Edit::ReplaceWorkflow {
            name: name("draw"),
            file: file(text),
        };
        bench.project.apply(edit).unwrap();
        let problems = bench.problems();
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(
            texts.iter().any(|text| text.contains(expected)),
            "{texts:?}"
        );
    }
    assert_eq!(
        validate(&Project::new(bench.project.id, ""), &BTreeMap::default())[0].kind,
        ProblemKind::Empty
    );
}

#[test]
fn one_axis_name_may_not_hide_another() {
    let (mut bench, _) = side_by_side(|_| MergeScope::AllOpen);
    let g = *bench.project.nodes.keys().nth(1).unwrap();
    let source = FanOutSource::Seeds {
        axis: "F".to_owned(),
        first: 1,
        count: 2,
        order: SeedOrder::Scatter,
    };
    let node = bench.project.nodes[&g].clone();
    let kind = NodeKind::FanOut(FanOutNode { source });
    let node = node.with_kind(kind, &mut || bench.ids.port());
    bench.project.apply(Edit::configure(node)).unwrap();
    let texts: Vec<String> = bench.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        ["\"draw\": the axis \"F\" comes in from both \"F\" and \"G\"; rename the axis of one"]
    );
}

#[test]
fn output_templates_stay_below_their_folder() {
    assert_eq!(
        parse_template("{project}/{label:seed}_{index:04}.{ext}").unwrap(),
        [
            TemplatePart::Project,
            TemplatePart::Text("/".to_owned()),
            TemplatePart::LabelOf("seed".to_owned()),
            TemplatePart::Text("_".to_owned()),
            TemplatePart::Index { min_digits: 4 },
            TemplatePart::Text(".".to_owned()),
            TemplatePart::Extension,
        ]
    );
    let refused = |template: &str| parse_template(template).unwrap_err();
    assert_eq!(refused(" "), TemplateError::Empty);
    assert_eq!(refused("/etc/{node}"), TemplateError::Absolute);
    assert_eq!(
        refused("a/../{node}"),
        TemplateError::BadFolder("..".to_owned())
    );
    assert_eq!(
        refused("a//{node}"),
        TemplateError::BadFolder(String::new())
    );
    assert_eq!(refused("C:{node}"), TemplateError::BadCharacter(':'));
    assert_eq!(refused("a/b/c/d/e/f/g/h/i"), TemplateError::TooLong);
    assert_eq!(refused(&"x".repeat(501)), TemplateError::TooLong);
    assert_eq!(refused("C:\\x.{ext}"), TemplateError::BadCharacter(':'));
    assert!(matches!(
        refused("{{x}}"),
        TemplateError::UnknownPlaceholder(_)
    ));
    for unknown in ["seed", "index:x", "index:99", "label:"] {
        let expected = TemplateError::UnknownPlaceholder(unknown.to_owned());
        assert_eq!(refused(&format!("{{{unknown}}}")), expected);
    }
    assert_eq!(refused("a\\{node}"), TemplateError::BadCharacter('\\'));
    assert_eq!(refused("{node"), TemplateError::UnpairedBrace);
    assert_eq!(refused("node}"), TemplateError::UnpairedBrace);
    assert_eq!(
        refused("{index:99999999999999999999}"),
        TemplateError::UnknownPlaceholder("index:99999999999999999999".to_owned())
    );
    assert_eq!(
        refused("{sed}").to_string(),
        "{sed} in the file name is unknown; use project, node, label, label:AXIS, index, index:04, ext, run or date"
    );
}

#[test]
fn a_literal_input_keeps_its_type() {
    let mut bench = Bench::new();
    let id = bench.ids.node();
    let literal = Literal::Text("fox".to_owned());
    let node = Node::input_literal(id, literal, &mut || bench.ids.port());
    let input = bench.add(node.clone());
    let mut wrong = node;
    if let NodeKind::Input(settings) = &mut wrong.kind {
        settings.value = InputValue::Literal(Literal::Boolean(true));
    }
    // True is shown as text, so this widens; JSON does not.
    bench.project.apply(Edit::configure(wrong.clone())).unwrap();
    if let NodeKind::Input(settings) = &mut wrong.kind {
        settings.value = InputValue::Literal(Literal::Json(serde_json::json!([1])));
    }
    let error = bench
        .project
        .apply(Edit::configure(wrong.clone()))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("gives JSON, but its port carries Text"),
        "{error}"
    );
    let kind = wrong.kind.clone();
    let right = bench.project.nodes[&input].clone();
    let right = right.with_kind(kind, &mut || bench.ids.port());
    assert_eq!(right.data_type(), DataType::Json);
    bench.project.apply(Edit::configure(right)).unwrap();
}
