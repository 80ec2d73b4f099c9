//! The programs that customers use: Python with the loaders, node with the generators of readers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// What is installed, each in a folder of its own.
#[derive(Clone, Copy)]
pub enum Tool {
    /// Python with all loaders but Spark.
    Python,
    /// Python with Spark, which needs Java.
    Spark,
    /// Schemathesis, which tests an API by its description.
    Schemathesis,
    /// The definition of the OpenTelemetry protocol.
    OpenTelemetry,
    /// Packages of node.
    Node,
}

pub struct Installed {
    pub dir: PathBuf,
}

/// A file of the repository.
pub fn file(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).to_str().unwrap().to_owned()
}

/// The installed tool; `None`, and a line that says so, where it cannot be installed.
pub fn get(tool: Tool) -> Option<&'static Installed> {
    type Once = LazyLock<Result<Installed, String>>;
    static PYTHON: Once = LazyLock::new(|| install("python", "requirements.txt", pip));
    static SPARK: Once =
        LazyLock::new(|| needs("java", "-version").and_then(|()| install("spark", "requirements-spark.txt", pip)));
    static SCHEMATHESIS: Once = LazyLock::new(|| install("schemathesis", "requirements-schemathesis.txt", pip));
    static OPEN_TELEMETRY: Once = LazyLock::new(|| install("opentelemetry", "requirements-opentelemetry.txt", pip));
    static NODE: Once =
        LazyLock::new(|| needs("node", "--version").and_then(|()| install("node", "package.json", npm)));
    let tool = match tool {
        Tool::Python => &PYTHON,
        Tool::Spark => &SPARK,
        Tool::Schemathesis => &SCHEMATHESIS,
        Tool::OpenTelemetry => &OPEN_TELEMETRY,
        Tool::Node => &NODE,
    };
    tool.as_ref().inspect_err(|reason| eprintln!("skipped: {reason}")).ok()
}

/// Whether a program can be run, with a line that says so if not.
pub fn is_there(program: &str) -> bool {
    needs(program, "version").inspect_err(|reason| eprintln!("skipped: {reason}")).is_ok()
}

impl Installed {
    /// Runs a script of this folder, which must succeed. Returns what it printed.
    pub fn run(&self, script: &str, arguments: &[&str]) -> String {
        self.run_in(Path::new("."), script, arguments)
    }

    /// The same in another folder.
    pub fn run_in(&self, folder: &Path, script: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(self.dir.join("env/bin/python"));
        let script = file(&format!("tests/loaders/{script}"));
        command.arg(script).args(arguments).current_dir(folder);
        // Compiled scripts would be left in the sources.
        command.envs([("PYTHONDONTWRITEBYTECODE", "1"), ("TZ", "UTC"), ("PYTHONUTF8", "1")]);
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{command:?}\n{out}\n{err}");
        print!("{out}");
        out
    }
}

/// Installs the packages of a list, unless this list is installed. Other processes of this target folder wait.
fn install(name: &str, list: &str, with: fn(&Path, &Path) -> Result<(), String>) -> Result<Installed, String> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("loaders").join(name);
    let list = PathBuf::from(file(&format!("tests/loaders/{list}")));
    let wanted = fs::read_to_string(&list).unwrap();
    fs::create_dir_all(&dir).unwrap();
    let lock = fs::File::create(dir.join("lock")).unwrap();
    lock.lock().unwrap();
    let installed = dir.join("installed");
    if fs::read_to_string(&installed).is_ok_and(|list| list == wanted) {
        return Ok(Installed { dir });
    }
    with(&dir, &list)?;
    fs::write(installed, wanted).unwrap();
    Ok(Installed { dir })
}

fn pip(dir: &Path, list: &Path) -> Result<(), String> {
    let env = dir.join("env");
    let _ = fs::remove_dir_all(&env);
    done(Command::new("python3").args(["-m", "venv"]).arg(&env))?;
    let mut pip = Command::new(env.join("bin/python"));
    done(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(list))
}

fn npm(dir: &Path, list: &Path) -> Result<(), String> {
    fs::copy(list, dir.join("package.json")).unwrap();
    done(Command::new("npm").args(["install", "--silent", "--no-fund", "--no-audit"]).current_dir(dir))
}

fn needs(program: &str, version: &str) -> Result<(), String> {
    done(Command::new(program).arg(version))
}

fn done(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let last = String::from_utf8_lossy(&said).trim().lines().next_back().unwrap_or_default().to_owned();
    Err(format!("{program}: {last}"))
}
