#include "launcher/doctor.hpp"

#include <fmt/format.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "config/values.hpp"
#include "launcher/program.hpp"

namespace shunt::launcher {
namespace {

namespace fs = std::filesystem;

// The number behind `key` in a file like /proc/meminfo ("HugePages_Free:   12"); 0 if there is none.
unsigned long long number_in(const char* file, std::string_view key, int base = 10) {
    const auto text = config::read_file(file);
    const std::size_t at = text ? text->find(key) : std::string::npos;
    return at == std::string::npos ? 0 : std::strtoull(text->c_str() + at + key.size(), nullptr, base);
}

bool has_capability(int capability) {
    return (number_in("/proc/self/status", "CapEff:", 16) >> capability & 1) != 0;
}

bool can_open(const char* device) {
    return access(device, R_OK | W_OK) == 0;
}

std::string word_in(const fs::path& file) {
    std::string word;
    std::ifstream(file) >> word;
    return word;
}

void line(std::string_view name, std::string_view text) {
    fmt::print("  {:<12}{}\n", name, text);
}

// "yes", or "no: " with all that is missing.
void verdict(std::string_view link, const std::vector<std::string>& missing) {
    line(link, missing.empty() ? std::string("yes") : fmt::format("no: {}", fmt::join(missing, "; ")));
}

bool report_shim() {
    const auto shim = find_shim();
    line("shim", shim ? *shim : shim.error().message);
    return shim.has_value();
}

void report_machine() {
    const auto cpu = config::read_file("/proc/cpuinfo");
    const bool has_sse42 = cpu && cpu->find("sse4_2") != std::string::npos;
    line("processor", has_sse42 ? fmt::format("{} online, SSE 4.2", sysconf(_SC_NPROCESSORS_ONLN))
                                : std::string("lacks SSE 4.2, which DPDK needs (QEMU: -cpu Nehalem or later)"));
    const unsigned long long total = number_in("/proc/meminfo", "HugePages_Total:");
    line("hugepages", total != 0 ? fmt::format("{} of {} free, {} KiB each", number_in("/proc/meminfo", "HugePages_Free:"), total,
                                               number_in("/proc/meminfo", "Hugepagesize:"))
                                 : std::string("none; not needed, but a little faster: sysctl vm.nr_hugepages=256"));
    rlimit limit{};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    line("memlock", limit.rlim_cur == RLIM_INFINITY ? std::string("unlimited") : fmt::format("{} KiB", limit.rlim_cur / 1024));
}

void report_links() {
    rlimit limit{};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    const bool is_admin = has_capability(CAP_NET_ADMIN);
    verdict("loop", {});
    verdict("memif:", {});
    std::vector<std::string> missing;
    if (!can_open("/dev/net/tun")) {
        missing.emplace_back("/dev/net/tun cannot be opened (modprobe tun)");
    }
    if (!is_admin) {
        missing.emplace_back("CAP_NET_ADMIN is needed (run as root)");
    }
    verdict("tap:", missing);
    missing.clear();
    if (!has_capability(CAP_NET_RAW)) {
        missing.emplace_back("CAP_NET_RAW is needed (run as root)");
    }
    verdict("packet:", missing);
    if (!is_admin) {
        missing.emplace_back("CAP_NET_ADMIN is needed (run as root)");
    }
    verdict("xdp:", missing);
    missing.clear();
    if (!fs::exists("/dev/vfio/vfio")) {
        missing.emplace_back("/dev/vfio/vfio is not there (modprobe vfio-pci, and an IOMMU)");
    } else if (!can_open("/dev/vfio/vfio")) {
        missing.emplace_back("/dev/vfio/vfio cannot be opened by this user");
    }
    verdict("pci:", missing);
}

// Network cards on the PCI bus and who drives them: what could be given to --link pci:.
void report_cards() {
    std::error_code ignored;
    for (const auto& device : fs::directory_iterator("/sys/bus/pci/devices", ignored)) {
        if (!word_in(device.path() / "class").starts_with("0x02")) {
            continue;
        }
        const fs::path driver = fs::read_symlink(device.path() / "driver", ignored).filename();
        const bool is_virtual = fs::exists(device.path() / "physfn", ignored);
        fmt::print("  pci:{} {}:{}, driver {}{}\n", device.path().filename().string(), word_in(device.path() / "vendor"),
                   word_in(device.path() / "device"), driver.empty() ? std::string("none") : driver.string(),
                   is_virtual ? ", virtual function" : "");
    }
}

}  // namespace

int doctor() {
    fmt::print("machine\n");
    const bool has_shim = report_shim();
    report_machine();
    fmt::print("links that this user can open\n");
    report_links();
    fmt::print("network cards (bind to vfio-pci for --link pci:; those that mlx5 drives are used as they are)\n");
    report_cards();
    return has_shim ? 0 : 1;
}

}  // namespace shunt::launcher
