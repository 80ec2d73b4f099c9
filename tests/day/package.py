import shutil
class Day:
    name, step = "day", ""
    def __init__(self, *a): pass
    def run(self): return "day: todo"
    def stop(self): pass
def remove(folder):
    shutil.rmtree(folder, ignore_errors=True)
