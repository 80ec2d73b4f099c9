from click_event import ClickEvent

with open("events.ndjson", encoding="utf-8", newline="\n") as lines:
    for line in lines:
        event = ClickEvent.model_validate_json(line)
        # A feed may leave members out.
        params = event.route.params if event.route else None
        query = params.query or [] if params else []
        print(event.id, "&".join(f"{q.name}={q.value}" for q in query))
