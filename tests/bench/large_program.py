"""Makes a C++ program with some 230 MB of debug info: ten units that instantiate the standard library's templates for types
of their own, and eight copies of each, which are units with code and debug info of their own. Takes some two minutes.
"""

import subprocess

UNITS, COPIES = 10, 9
UNIT = """
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>
namespace unit@ {
struct Key { std::string name; int rank; bool operator<(const Key &other) const { return rank < other.rank || (rank == other.rank && name < other.name); } bool operator==(const Key &other) const { return rank == other.rank && name == other.name; } };
struct Hash { size_t operator()(const Key &key) const { return std::hash<std::string>()(key.name) ^ key.rank; } };
using Value = std::variant<int, double, std::string, std::vector<Key>>;
template <int N> struct Table {
    std::map<Key, Value> ordered; std::unordered_map<Key, std::shared_ptr<Value>, Hash> hashed; std::set<Key> keys;
    std::function<int(const Key &)> weigh = [this](const Key &key) { return key.rank + N + int(keys.count(key)); };
    template <typename T> Table(T seed, const char *text) {
        for (int i = 0; i < int(seed); i++) { Key key{text + std::to_string(i), i * N}; ordered[key] = i; hashed.emplace(key, std::make_shared<Value>(double(i))); keys.insert(key); }
    }
    int sum(const std::string &pattern) {
        std::regex re(pattern); std::vector<Key> found;
        for (auto &[key, value] : ordered) if (std::regex_search(key.name, re)) found.push_back(key);
        std::sort(found.begin(), found.end(), [&](const Key &a, const Key &b) { return weigh(a) > weigh(b); });
        std::stable_sort(found.begin(), found.end());
        return std::accumulate(found.begin(), found.end(), 0, [&](int sum, const Key &key) { return sum + std::visit([](auto &v) { return int(sizeof v); }, ordered[key]) + weigh(key); });
    }
};
int run(int n) { std::ostringstream out; @CALLS@ return int(out.str().size()); }
}
"""
CALLS = "".join(f'{{ Table<{n}> t(n, "k"); out << t.sum("k[0-9]+{n}"); }} ' for n in range(12))
NAMES = [(unit, copy) for unit in range(UNITS) for copy in range(COPIES)]


def main_source():
    declared = "".join(f"namespace unit{unit} {{ int run{copy}(int); }}\n" for unit, copy in NAMES)
    calls = "".join(f"        sum += unit{unit}::run{copy}(30 + argc);\n" for unit, copy in NAMES)
    return f"{declared}int main(int argc, char **) {{\n    int sum = 0;\n    for (int round = 0; round < 40; round++) {{\n{calls}    }}\n    return sum == 1;\n}}\n"


def mangled(unit, function):
    return f"_ZN{len(unit)}{unit}{len(function)}{function}Ei"


def copy_unit(folder, unit, copy):
    """The same object, in which all functions but its entry are local, and the entry has another name."""
    output, entry = f"unit{unit}-{copy}.o", mangled(f"unit{unit}", f"run{copy}")
    subprocess.run(["ld", "-r", "--force-group-allocation", "-o", output, f"unit{unit}.o"], cwd=folder, check=True)
    rename = f"--redefine-sym={mangled(f'unit{unit}', 'run')}={entry}"
    subprocess.run(["objcopy", rename, f"--keep-global-symbol={entry}", output], cwd=folder, check=True)
    return output


def build(folder):
    """The program; what was built before is used again."""
    program = folder / "program"
    if program.exists():
        return program
    folder.mkdir(parents=True, exist_ok=True)
    sources = {f"unit{unit}": UNIT.replace("@CALLS@", CALLS).replace("@", str(unit)) for unit in range(UNITS)}
    for name, source in {**sources, "main": main_source()}.items():
        (folder / f"{name}.cpp").write_text(source)
        subprocess.run(["g++", "-O2", "-g", "-fno-gnu-unique", "-c", f"{name}.cpp"], cwd=folder, check=True)
    copies = [copy_unit(folder, unit, copy) for unit, copy in NAMES]
    link = ["g++", "-Wl,--build-id,--allow-multiple-definition", "-o", "program", "main.o", *copies]
    subprocess.run(link, cwd=folder, check=True)
    for leftover in folder.glob("*.o"):
        leftover.unlink()
    return program
