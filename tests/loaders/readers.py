"""Generates a reader from the event's JSON schema, compiles it, and reads events of today and of later versions.

    readers.py LANGUAGE SCHEMA SAMPLES FOLDER TOOLS

LANGUAGE is pydantic, typescript, go or rust; FOLDER is where the reader is built; TOOLS is the folder of node packages.
"""

import copy
import json
import os
import re
import shutil
import subprocess
import sys

NEW = "something-new-of-later"
# Where values may be added; an unknown one is no error.
OPEN = """
    client.optOut client.agent.os.name client.agent.browser.name client.agent.device.name client.agent.bot.reason
    client.agent.bot.class client.agent.bot.name referral.origin.type referral.origin.name quality.reasons
    quality.invalid
""".split()


def of_ref(whole, schema):
    if "$ref" in schema:
        schema = {**whole["$defs"][schema["$ref"].removeprefix("#/$defs/")], **schema}
    return schema


def with_new_fields(value):
    """One more field in every object."""
    if isinstance(value, dict):
        return {**{name: with_new_fields(inner) for name, inner in value.items()}, "addedLater": {"x": [1, None]}}
    return [with_new_fields(inner) for inner in value] if isinstance(value, list) else value


def with_new_values(whole, schema, value, place, changed):
    """An unknown value wherever the schema allows one."""
    schema = of_ref(whole, schema)
    if isinstance(value, dict):
        return {
            name: with_new_values(whole, schema["properties"][name], inner, f"{place}.{name}".strip("."), changed)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [with_new_values(whole, schema["items"], inner, place, changed) for inner in value]
    is_open = isinstance(value, str) and not schema.keys() & {"const", "enum", "format"}
    if is_open and re.search(schema.get("pattern", ""), NEW):
        changed.add(place)
        return NEW
    return value


def line(event):
    query = event["route"].get("params", {"query": []})["query"]
    query = "&".join(f"{q['name']}={q['value']}" for q in query)
    return f"{event['id']} {query}"


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, **options)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout.decode()}\n{done.stderr.decode()}"
    return done.stdout.decode()


def quicktype(tools, schema, language, out, *more):
    run(
        os.path.join(tools, "node_modules/.bin/quicktype"), "--src-lang", "schema", schema, "--top-level", "ClickEvent",
        "--lang", language, "-o", out, *more
    )


def pydantic(schema, drivers, _tools):
    run(
        sys.executable, "-W", "ignore", "-m", "datamodel_code_generator", "--input", schema, "--input-file-type",
        "jsonschema", "--output-model-type", "pydantic_v2.BaseModel", "--output", "click_event.py"
    )
    shutil.copy(f"{drivers}/driver.py", "driver.py")
    return [sys.executable, "driver.py"]


def typescript(schema, drivers, tools):
    quicktype(tools, schema, "typescript", "click_event.ts")
    shutil.copy(f"{drivers}/driver.ts", "driver.ts")
    run(
        os.path.join(tools, "node_modules/.bin/tsc"), "--strict", "--target", "es2022", "--module", "commonjs",
        "driver.ts"
    )
    return ["node", "driver.js"]


def go(schema, drivers, tools):
    quicktype(tools, schema, "go", "click_event.go", "--package", "main")
    shutil.copy(f"{drivers}/driver.go", "driver.go")
    run(
        "go", "build", "-o", "driver", "click_event.go", "driver.go",
        env={**os.environ, "GO111MODULE": "off", "GOCACHE": os.path.abspath("cache")}
    )
    return ["./driver"]


def rust(schema, drivers, tools):
    os.makedirs("src", exist_ok=True)
    quicktype(tools, schema, "rust", "src/click_event.rs", "--visibility", "public")
    shutil.copy(f"{drivers}/driver.rs", "src/main.rs")
    with open("Cargo.toml", "w", encoding="utf-8") as file:
        file.write(
            '[package]\nname = "driver"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n[dependencies]\n'
            'serde = { version = "1", features = ["derive"] }\nserde_json = "1"\n'
        )
    # What the project itself is built of is there.
    run("cargo", "build", "--offline", env={**os.environ, "CARGO_TARGET_DIR": "target"})
    return ["target/debug/driver"]


def main(language, schema_path, samples, folder, tools):
    with open(schema_path, encoding="utf-8") as file:
        schema = json.load(file)
    with open(samples, encoding="utf-8", newline="\n") as lines:
        events = [json.loads(line) for line in lines]
    changed = set()
    later = [with_new_fields(event) for event in copy.deepcopy(events)]
    later += [with_new_values(schema, schema, event, "", changed) for event in copy.deepcopy(events)]
    missing = set(OPEN) - changed
    assert not missing, f"no sample has, or the schema closes: {sorted(missing)}"
    events += later
    drivers = os.path.join(os.path.dirname(os.path.abspath(__file__)), "readers")
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    with open("events.ndjson", "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(event, ensure_ascii=False) + "\n" for event in events)
    command = globals()[language](schema_path, drivers, tools)
    read = run(*command, env={**os.environ, "PYTHONUTF8": "1"})
    expected = "".join(line(event) + "\n" for event in events)
    assert read == expected, f"read:\n{read}\nexpected:\n{expected}"
    print(f"{language}: {len(events)} events")


if __name__ == "__main__":
    main(*sys.argv[1:])
