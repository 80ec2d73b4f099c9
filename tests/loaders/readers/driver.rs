#[allow(dead_code)]
mod click_event;

fn main() {
    for line in std::fs::read_to_string("events.ndjson").unwrap().split_terminator('\n') {
        let event: click_event::ClickEvent = serde_json::from_str(line).unwrap();
        // A feed may leave members out.
        let params = event.route.and_then(|route| route.params);
        let query = params.and_then(|params| params.query).unwrap_or_default();
        let query: Vec<_> = query.iter().map(|q| format!("{}={}", q.name, q.value)).collect();
        println!("{} {}", event.id, query.join("&"));
    }
}
