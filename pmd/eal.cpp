// Starting EAL behind the program's back. What could make it fail is looked at beforehand, to say it in our words.
#include "pmd/eal.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <set>

#include "base/log.hpp"
#include "base/sys.hpp"
#include "pmd/dpdk.hpp"
#include "pmd/driver_calls.hpp"

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif

namespace shunt::pmd {
namespace {

struct State {
    std::mutex mutex;
    bool is_started = false;
    bool has_failed = false;
    bool uses_hugepages = false;
    std::set<std::string> pci_devices;
    std::array<char, 256> complaint{};
};
State state;

// DPDK's log lines: the last one is kept for explanations, all go to our log at level debug.
void take_log(std::string_view line) {
    while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) {
        line.remove_suffix(1);
    }
    if (!line.empty() && rte_log_cur_msg_loglevel() <= static_cast<int>(RTE_LOG_ERR)) {
        const std::size_t kept = std::min(line.size(), state.complaint.size() - 1);
        std::memcpy(state.complaint.data(), line.data(), kept);
        state.complaint[kept] = '\0';
    }
    log::debug("dpdk: {}", line);
}

unsigned long read_number(const char* path) {
    char text[32]{};
    const long fd = sys::call(SYS_openat, AT_FDCWD, sys::word(path), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    sys::read(static_cast<int>(fd), text, sizeof text - 1);
    sys::close(static_cast<int>(fd));
    return std::strtoul(text, nullptr, 10);
}

// Enough 2 MiB pages are free, and this process may have them: a mapping reserves them, a limit of the control group shows here.
bool can_have_hugepages(std::uint32_t memory_mib) {
    if (read_number("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") * 2 < memory_mib) {
        return false;
    }
    const long fd = sys::call(SYS_memfd_create, sys::word("shunt-probe"), MFD_HUGETLB | MFD_HUGE_2MB | MFD_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    const std::size_t bytes = static_cast<std::size_t>(memory_mib) << 20;
    bool granted = sys::call(SYS_ftruncate, fd, static_cast<long>(bytes)) == 0;
    if (granted) {
        const long address = sys::call(SYS_mmap, 0, static_cast<long>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        granted = address > 0;
        if (granted) {
            sys::call(SYS_munmap, address, static_cast<long>(bytes));
        }
    }
    sys::close(static_cast<int>(fd));
    return granted;
}

Outcome<void> check_pci(const std::string& address) {
    const std::string device = "/sys/bus/pci/devices/" + address;
    if (access(device.c_str(), F_OK) != 0) {
        return explain(ENODEV, fmt::format("--link pci:{}: there is no such device; lspci -D shows what there is", address));
    }
    std::array<char, 256> target{};
    const ssize_t length = readlink((device + "/driver").c_str(), target.data(), target.size() - 1);
    const std::string_view path(target.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
    const std::string_view driver = path.substr(path.rfind('/') == std::string_view::npos ? 0 : path.rfind('/') + 1);
    if (driver == "mlx5_core" || driver == "mlx4_core") {
        return {};   // these share the device with the kernel's driver
    }
    if (driver != "vfio-pci" && driver != "uio_pci_generic" && driver != "igb_uio") {
        return explain(EBUSY, fmt::format("--link pci:{}: the device belongs to {}; give it to VFIO: modprobe vfio-pci; dpdk-devbind.py -b vfio-pci {}",
                                          address, driver.empty() ? std::string_view("no driver") : fmt::format("the kernel's driver {}", driver), address));
    }
    if (driver == "vfio-pci") {
        const ssize_t group_length = readlink((device + "/iommu_group").c_str(), target.data(), target.size() - 1);
        if (group_length <= 0) {
            return explain(ENODEV, fmt::format("--link pci:{}: no IOMMU group; switch the IOMMU on (intel_iommu=on or amd_iommu=on on the kernel's command line)", address));
        }
        const std::string_view group_path(target.data(), static_cast<std::size_t>(group_length));
        const std::string group = fmt::format("/dev/vfio/{}", group_path.substr(group_path.rfind('/') + 1));
        if (access(group.c_str(), R_OK | W_OK) != 0) {
            return explain(EACCES, fmt::format("--link pci:{}: {} cannot be opened; run as root or chown it to this user", address, group));
        }
    }
    return {};
}

int first_allowed_cpu() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    sched_getaffinity(0, sizeof allowed, &allowed);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &allowed)) {
            return static_cast<int>(cpu);
        }
    }
    return 0;
}

std::vector<std::string> arguments(const EalOptions& options, const std::set<std::string>& pci_devices) {
    std::vector<std::string> list{"shunt", "-m", std::to_string(options.memory_mib), "--no-telemetry", "--no-shconf", "--iova-mode=va",
                                  fmt::format("--lcores=0@{}", first_allowed_cpu()), fmt::format("--file-prefix=shunt{}", sys::getpid()),
                                  // Lines above error are not even formatted, unless somebody wants them.
                                  log::threshold() >= log::Level::debug ? "--log-level=*:info" : "--log-level=*:error"};
    list.emplace_back(state.uses_hugepages ? "--in-memory" : "--no-huge");
    if (state.uses_hugepages) {
        list.emplace_back("--single-file-segments");  // few descriptors, for who joins
    }
    if (pci_devices.empty()) {
        list.emplace_back("--no-pci");
    }
    for (const std::string& address : pci_devices) {
        list.insert(list.end(), {"-a", address});
    }
    return list;
}

std::set<std::string> thread_ids() {
    std::set<std::string> ids;
    if (DIR* folder = opendir("/proc/self/task")) {
        while (const dirent* entry = readdir(folder)) {
            if (entry->d_name[0] != '.') {
                ids.insert(entry->d_name);
            }
        }
        closedir(folder);
    }
    return ids;
}

// EAL's threads get names of ours: whoever looks at the program's threads should know whose they are. They may run where the program may.
void adopt_new_threads(const std::set<std::string>& before, const cpu_set_t& affinity) {
    for (const std::string& id : thread_ids()) {
        if (!before.contains(id)) {
            const std::string path = "/proc/self/task/" + id + "/comm";
            const long fd = sys::call(SYS_openat, AT_FDCWD, sys::word(path.c_str()), O_WRONLY | O_CLOEXEC);
            if (fd >= 0) {
                sys::write(static_cast<int>(fd), "shunt-eal", 9);
                sys::close(static_cast<int>(fd));
            }
            sys::call(SYS_sched_setaffinity, std::stol(id), sizeof affinity, sys::word(&affinity));
        }
    }
}

int init_quietly(std::vector<std::string> list) {
    std::vector<char*> argv;
    for (std::string& each : list) {
        argv.push_back(each.data());
    }
    argv.push_back(nullptr);
    cpu_set_t affinity;
    CPU_ZERO(&affinity);
    sched_getaffinity(0, sizeof affinity, &affinity);
    sigset_t all, before;
    sigfillset(&all);   // but for libc's own, by which setuid() and its kin reach every thread, and wait for it
    sys::sigprocmask(SIG_SETMASK, &all, &before);   // what EAL creates inherits this: no signal of the program's ends up there
    const std::set<std::string> threads = thread_ids();
    const int result = rte_eal_init(static_cast<int>(list.size()), argv.data());
    adopt_new_threads(threads, affinity);
    sys::sigprocmask(SIG_SETMASK, &before, nullptr);
    sched_setaffinity(0, sizeof affinity, &affinity);
    return result;
}

}  // namespace

bool is_eal_started() noexcept {
    return state.is_started;
}

bool has_hugepages() noexcept {
    return state.uses_hugepages;
}

std::size_t memory_pieces(std::span<SharedPiece> to) noexcept {
    struct Found {
        std::span<SharedPiece> to;
        std::size_t count = 0;
    } found{to};
    rte_memseg_contig_walk(
        [](const rte_memseg_list*, const rte_memseg* segment, std::size_t bytes, void* argument) {
            auto& into = *static_cast<Found*>(argument);
            const int fd = rte_memseg_get_fd_thread_unsafe(segment);
            std::size_t offset = 0;
            if (fd >= 0 && into.count < into.to.size() && rte_memseg_get_fd_offset_thread_unsafe(segment, &offset) == 0) {
                into.to[into.count++] = {segment->addr, bytes, offset, fd};
            }
            return 0;
        },
        &found);
    return found.count;
}

std::string last_complaint() {
    return std::string(state.complaint.data());
}

void forget_complaints() noexcept {
    state.complaint[0] = '\0';
}

Outcome<void> start_eal(const EalOptions& options) {
    const std::lock_guard lock(state.mutex);
    std::set<std::string> pci_devices;
    for (const LinkSpec& link : options.links) {
        if (link.kind == LinkSpec::Kind::pci) {
            pci_devices.insert(link.value.substr(0, link.value.find(',')));
        }
    }
    if (state.is_started) {
        const auto missing = std::find_if(pci_devices.begin(), pci_devices.end(), [](const std::string& each) { return !state.pci_devices.contains(each); });
        if (missing != pci_devices.end()) {
            return explain(EBUSY, fmt::format("--link pci:{}: DPDK runs already without it; name all links of a program at once", *missing));
        }
        return {};
    }
    if (state.has_failed) {
        return explain(EIO, "DPDK failed to start before in this process; start the program again");
    }
    for (const std::string& address : pci_devices) {
        if (auto usable = check_pci(address); !usable) {
            return usable;
        }
    }
    if (rte_cpu_is_supported() == 0) {
        return explain(ENOTSUP, "this processor lacks instructions that DPDK was built for (x86-64-v2); a virtual machine needs a newer CPU model, such as -cpu host");
    }
    state.uses_hugepages = options.hugepages == EalOptions::Hugepages::when_free && can_have_hugepages(options.memory_mib);
    set_log_sink(take_log);
    forget_complaints();
    if (init_quietly(arguments(options, pci_devices)) < 0) {
        state.has_failed = true;
        return explain(EIO, fmt::format("DPDK did not start ({}); SHUNT_LOG=debug shows its own log", state.complaint[0] != '\0' ? state.complaint.data() : rte_strerror(rte_errno)));
    }
    state.is_started = true;
    state.pci_devices = pci_devices;
    return {};
}

}  // namespace shunt::pmd
