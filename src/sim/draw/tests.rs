use super::super::trace::{Note, Part, Subject};
use super::*;
use crate::stack::Role;

const P0: ProcessId = ProcessId(0);
const P1: ProcessId = ProcessId(1);

/// p0 crashes; p1 is asked something that XML has to escape, and a property is violated there.
fn execution() -> Vec<(u64, Note)> {
    let part = Part { role: Role::Leader, ballot: Default::default(), decided: 3 };
    vec![
        (0, Note::Recovered { at: P0, inc: 1 }),
        (0, Note::Recovered { at: P1, inc: 1 }),
        (4, Note::Ticked { at: P1 }),
        (5, Note::Turned { at: P1, part }),
        (6, Note::Crashed { at: P0, during: None }),
        (9, Note::Asked { at: P1, about: Subject::Log, text: "put a=<\"&\u{7}>".into() }),
    ]
}

fn picture<'a>(notes: &'a [(u64, Note)], mark: Option<Mark>) -> Picture<'a> {
    Picture {
        notes: notes.iter().collect(),
        processes: 2,
        title: "A & B".into(),
        captions: vec!["a caption".into()],
        mark,
        window: None,
    }
}

/// Every element that is opened is closed, in order, and text holds no mark of XML.
fn well_formed(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    for part in svg.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("a tag ends");
        assert!(!text.contains('>'), "{text}");
        for entity in text.split('&').skip(1) {
            assert!(entity.contains(';'), "{text}");
        }
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.push(tag.split_whitespace().next().unwrap()),
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
}

#[test]
fn a_picture_is_well_formed_and_names_every_process_and_the_property() {
    let notes = execution();
    let detail = "p1 leads, and <nobody> knows".into();
    let mark = Mark { property: Property::Leader, detail, step: 9, at: Some(P1) };
    let svg = draw(&picture(&notes, Some(mark)));
    well_formed(&svg);
    for text in [">p0</text>", ">p1</text>", "A &amp; B", "“leader” is violated", "a caption", "crashes"]
    {
        assert!(svg.contains(text), "{text} in {svg}");
    }
    assert!(svg.contains("asked: put a=&lt;&quot;&amp; &gt;"), "{svg}");
    assert!(svg.contains("1 tick not drawn"), "{svg}");
}

#[test]
fn nothing_after_a_violation_is_drawn() {
    let notes = execution();
    let mark = Mark { property: Property::Leader, detail: String::new(), step: 6, at: Some(P0) };
    let svg = draw(&picture(&notes, Some(mark)));
    well_formed(&svg);
    assert!(svg.contains("crashes") && !svg.contains("asked"), "{svg}");
}

#[test]
fn a_window_shows_its_steps_only() {
    let notes = execution();
    let svg = draw(&Picture { window: Some((5, 6)), ..picture(&notes, None) });
    well_formed(&svg);
    assert!(svg.contains("leads in 0") && svg.contains("crashes") && !svg.contains("asked"), "{svg}");
}

#[test]
fn an_execution_in_which_nothing_happened_is_drawn() {
    well_formed(&draw(&picture(&[], None)));
}
