#include "launcher/program.hpp"

#include <elf.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "config/config.hpp"
#include "config/values.hpp"

namespace shunt::launcher {
namespace {

namespace fs = std::filesystem;

bool is_file(const std::string& path) {
    std::error_code ignored;
    return fs::is_regular_file(path, ignored);
}

bool is_executable(const std::string& path) {
    return is_file(path) && access(path.c_str(), X_OK) == 0;
}

template <class Test>
bool any_segment(int fd, const Elf64_Ehdr& header, Test test) {
    for (unsigned i = 0; i < header.e_phnum; ++i) {
        Elf64_Phdr segment{};
        const off_t at = static_cast<off_t>(header.e_phoff + i * std::size_t{header.e_phentsize});
        if (pread(fd, &segment, sizeof segment, at) == sizeof segment && test(segment)) {
            return true;
        }
    }
    return false;
}

// Does an ELF file ask for the dynamic linker? Without it nobody reads LD_PRELOAD.
bool has_interpreter(int fd, const Elf64_Ehdr& header) {
    return any_segment(fd, header, [](const Elf64_Phdr& segment) { return segment.p_type == PT_INTERP; });
}

// Go's linker leaves a note under its name.
bool has_note_of_go(int fd, const Elf64_Phdr& segment) {
    constexpr std::size_t align = 3;  // to words
    std::array<char, 4096> notes{};
    const ssize_t read = pread(fd, notes.data(), std::min<std::size_t>(notes.size(), segment.p_filesz), static_cast<off_t>(segment.p_offset));
    const std::size_t size = read > 0 ? static_cast<std::size_t>(read) : 0;
    Elf64_Nhdr note{};
    for (std::size_t at = 0; at + sizeof note + 4 <= size;) {
        std::memcpy(&note, notes.data() + at, sizeof note);
        at += sizeof note;
        if (note.n_namesz == 4 && std::memcmp(notes.data() + at, "Go\0", 4) == 0) {
            return true;
        }
        at += ((note.n_namesz + align) & ~align) + ((note.n_descsz + align) & ~align);
    }
    return false;
}

std::string elf_obstacle(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return {};  // executable but not readable: let it try
    }
    Elf64_Ehdr header{};
    const bool is_elf =
        pread(fd, &header, sizeof header, 0) == sizeof header && std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0;
    std::string obstacle;
    if (is_elf && (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64)) {
        obstacle = "is not an x86-64 program";
    } else if (is_elf && !has_interpreter(fd, header)) {
        obstacle = "is statically linked";
    } else if (is_elf && any_segment(fd, header, [fd](const Elf64_Phdr& segment) { return segment.p_type == PT_NOTE && has_note_of_go(fd, segment); })) {
        obstacle = "is a Go program, whose system calls pass libc by";
    }
    close(fd);
    return obstacle;
}

std::string own_folder() {
    char path[4096];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    return length <= 0 ? std::string(".")
                       : fs::path(std::string_view(path, static_cast<std::size_t>(length))).parent_path().string();
}

}  // namespace

Outcome<std::string> find_program(const std::string& name) {
    if (name.find('/') != std::string::npos) {
        if (access(name.c_str(), F_OK) != 0) {
            return explain(exit_not_found,
                           fmt::format("{}: there is no such program; give its path, or a name found on PATH", name));
        }
        if (!is_executable(name)) {
            return explain(exit_not_executable,
                           fmt::format("{}: cannot be executed; is it a program, and has it the x permission?", name));
        }
        return name;
    }
    bool is_there = false;
    const std::string path_list = config::variable("PATH").value_or("/usr/local/bin:/usr/bin:/bin");
    for (std::string_view folder : config::split(path_list, ':')) {
        std::string path = fmt::format("{}/{}", folder, name);
        if (is_executable(path)) {
            return path;
        }
        is_there = is_there || is_file(path);
    }
    if (is_there) {
        return explain(exit_not_executable, fmt::format("{}: is on PATH but cannot be executed; has it the x permission?", name));
    }
    return explain(exit_not_found, fmt::format("{}: there is no such program on PATH; give its path, or install it", name));
}

std::string preload_obstacle(const std::string& path) {
    struct stat status {};
    if (stat(path.c_str(), &status) == 0) {
        const bool changes_user = (status.st_mode & S_ISUID) != 0 && status.st_uid != geteuid();
        const bool changes_group = (status.st_mode & S_ISGID) != 0 && status.st_gid != getegid();
        if (changes_user || changes_group) {
            return "is set-user-id or set-group-id, so the dynamic linker ignores LD_PRELOAD";
        }
        if (geteuid() != 0 && getxattr(path.c_str(), "security.capability", nullptr, 0) > 0) {
            return "has file capabilities, so the dynamic linker ignores LD_PRELOAD";
        }
    }
    return elf_obstacle(path);
}

Outcome<std::string> find_shim() {
    const std::string folder = own_folder();
    const std::string candidates[] = {
        folder + "/../lib/libshunt_preload.so",
        folder + "/../" SHUNT_INSTALL_LIBDIR "/libshunt_preload.so",
    };
    for (const std::string& candidate : candidates) {
        if (!is_file(candidate)) {
            continue;
        }
        std::string path = fs::canonical(candidate).string();
        if (path.find_first_of(" :") != std::string::npos) {
            return explain(exit_usage,
                           fmt::format("{}: LD_PRELOAD cannot hold a path with a blank or a colon; move the files", path));
        }
        return path;
    }
    return explain(exit_usage, fmt::format("libshunt_preload.so is not in {}; build or install it beside bin/shunt",
                                           fs::path(candidates[0]).parent_path().lexically_normal().string()));
}

std::string preload_value(const std::string& shim, const std::string& present) {
    std::string value = shim;
    std::size_t start = 0;
    while (start < present.size()) {
        const std::size_t end = std::min(present.find_first_of(" :", start), present.size());
        const std::string library = present.substr(start, end - start);
        if (!library.empty() && library != shim) {
            value += ":" + library;
        }
        start = end + 1;
    }
    return value;
}

}  // namespace shunt::launcher
