// What programs learn of network interfaces: libc's names and the ioctls, with our ports among the kernel's; sockets bound to one of them.
#include "preload/interfaces.hpp"

#include <ifaddrs.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netpacket/packet.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "base/log.hpp"
#include "preload/handover.hpp"
#include "preload/libc.hpp"
#include "preload/shim.hpp"

namespace shunt::preload {
namespace {

using config::Ipv4Prefix;
using socket::Interface;
using socket::Runtime;

std::span<const Interface> ours() noexcept {
    return Runtime::instance().interfaces();
}

const Interface* find(std::string_view name) noexcept {
    const auto found = std::ranges::find(ours(), name, &Interface::name);
    return found == ours().end() ? nullptr : &*found;
}

const Interface* find(unsigned index) noexcept {
    const auto found = std::ranges::find(ours(), index, &Interface::index);
    return found == ours().end() ? nullptr : &*found;
}

std::string_view name_in(const char* text, std::size_t room) noexcept {
    return {text, strnlen(text, room)};
}

sockaddr_in inet(std::uint32_t address_host_order) noexcept {
    sockaddr_in made{};
    made.sin_family = AF_INET;
    made.sin_addr.s_addr = htonl(address_host_order);
    return made;
}

std::uint32_t broadcast_of(const Ipv4Prefix& prefix) noexcept {
    return prefix.length >= 31 ? 0 : prefix.address_host_order | ~prefix.mask();
}

// No IFF_MULTICAST: groups are the kernel's.
unsigned flags_of(const Interface& interface) noexcept {
    return socket::state_of(interface).is_up ? IFF_UP | IFF_BROADCAST | IFF_RUNNING : IFF_UP | IFF_BROADCAST;
}

// ---------------------------------------------------------------- getifaddrs

struct Entry {
    ifaddrs entry;
    sockaddr_storage address, netmask, broadcast;
};

template <class Address>
sockaddr* put(sockaddr_storage& place, const Address& address) noexcept {
    std::memcpy(&place, &address, sizeof address);
    return reinterpret_cast<sockaddr*>(&place);
}

void fill_hardware(Entry& to, const Interface& interface) noexcept {
    sockaddr_ll link{};
    link.sll_family = AF_PACKET;
    link.sll_ifindex = static_cast<int>(interface.index);
    link.sll_hatype = ARPHRD_ETHER;
    const auto mac = socket::state_of(interface).mac;
    link.sll_halen = static_cast<unsigned char>(mac.size());
    std::ranges::copy(mac, link.sll_addr);
    to.entry.ifa_addr = put(to.address, link);
}

void fill_address(Entry& to, const Ipv4Prefix& prefix) noexcept {
    to.entry.ifa_addr = put(to.address, inet(prefix.address_host_order));
    to.entry.ifa_netmask = put(to.netmask, inet(prefix.mask()));
    if (broadcast_of(prefix) != 0) {
        to.entry.ifa_broadaddr = put(to.broadcast, inet(broadcast_of(prefix)));
    }
}

std::size_t entries_of(const Interface& interface) noexcept {
    return interface.addresses.size() + (interface.is_kernels ? 0 : 1);
}

// Ours in front: a program that takes the first address that is not the loopback's shall take one of ours.
int add_ours(ifaddrs** list) noexcept {
    std::size_t count = 0;
    for (const Interface& interface : ours()) {
        count += entries_of(interface);
    }
    if (count == 0) {
        return 0;
    }
    auto* const entries = static_cast<Entry*>(std::calloc(count, sizeof(Entry)));
    if (entries == nullptr) {
        return -ENOMEM;
    }
    Entry* next = entries;
    for (const Interface& interface : ours()) {
        for (std::size_t i = 0; i < entries_of(interface); ++i, ++next) {
            next->entry.ifa_name = const_cast<char*>(interface.name.c_str());
            next->entry.ifa_flags = flags_of(interface);
            next->entry.ifa_next = &next[1].entry;
            const std::size_t first_address = entries_of(interface) - interface.addresses.size();
            if (i < first_address) {
                fill_hardware(*next, interface);
            } else {
                fill_address(*next, interface.addresses[i - first_address]);
            }
        }
    }
    next[-1].entry.ifa_next = *list;
    *list = &entries->entry;
    return 0;
}

// Entries of ours carry the very name of an Interface.
bool is_ours(const ifaddrs& entry) noexcept {
    return std::ranges::any_of(ours(), [&](const Interface& interface) { return entry.ifa_name == interface.name.c_str(); });
}

void free_list(ifaddrs* list) noexcept {
    ifaddrs* kernels = list;
    while (kernels != nullptr && is_ours(*kernels)) {
        kernels = kernels->ifa_next;
    }
    real.freeifaddrs(kernels);
    if (kernels != list) {
        std::free(list);
    }
}

// ---------------------------------------------------------------- names and indices

// libc frees each name, and the array, one by one.
struct if_nameindex* add_ours(struct if_nameindex* list) noexcept {
    const auto ends_at = [](const struct if_nameindex& each) { return each.if_index == 0; };
    std::size_t count = 0;
    while (!ends_at(list[count])) {
        ++count;
    }
    auto* const longer = static_cast<struct if_nameindex*>(std::realloc(list, (count + ours().size() + 1) * sizeof *list));
    if (longer == nullptr) {
        return list;
    }
    for (const Interface& interface : ours()) {
        char* const name = interface.is_kernels ? nullptr : strdup(interface.name.c_str());
        if (name != nullptr) {
            longer[count++] = {interface.index, name};
        }
    }
    longer[count] = {};
    return longer;
}

// ---------------------------------------------------------------- ioctl

bool is_about_interfaces(unsigned long request) noexcept {
    switch (request) {
        case SIOCGIFNAME:
        case SIOCGIFCONF:
        case SIOCGIFFLAGS:
        case SIOCGIFADDR:
        case SIOCGIFDSTADDR:
        case SIOCGIFBRDADDR:
        case SIOCGIFNETMASK:
        case SIOCGIFMETRIC:
        case SIOCGIFMTU:
        case SIOCGIFHWADDR:
        case SIOCGIFINDEX:
        case SIOCGIFTXQLEN: return true;
        default: return false;
    }
}

long tell_address(const Interface& interface, unsigned long request, sockaddr& to) noexcept {
    if (interface.addresses.empty()) {
        return -EADDRNOTAVAIL;
    }
    const Ipv4Prefix& first = interface.addresses[0];
    const sockaddr_in address = inet(request == SIOCGIFBRDADDR   ? broadcast_of(first)
                                     : request == SIOCGIFNETMASK ? first.mask()
                                                                 : first.address_host_order);
    std::memcpy(&to, &address, sizeof address);
    return 0;
}

long tell(const Interface& interface, unsigned long request, ifreq& about) noexcept {
    switch (request) {
        case SIOCGIFNAME: interface.name.copy(about.ifr_name, IFNAMSIZ - 1); return 0;
        case SIOCGIFFLAGS: about.ifr_flags = static_cast<short>(flags_of(interface)); return 0;
        case SIOCGIFMETRIC: about.ifr_metric = 0; return 0;
        case SIOCGIFMTU: about.ifr_mtu = interface.mtu; return 0;
        case SIOCGIFINDEX: about.ifr_ifindex = static_cast<int>(interface.index); return 0;
        case SIOCGIFTXQLEN: about.ifr_qlen = 0; return 0;  // nothing is queued in front of the port
        case SIOCGIFHWADDR: {
            about.ifr_hwaddr.sa_family = ARPHRD_ETHER;
            std::ranges::copy(socket::state_of(interface).mac, reinterpret_cast<std::uint8_t*>(about.ifr_hwaddr.sa_data));
            return 0;
        }
        default: return tell_address(interface, request, about.ifr_addr);
    }
}

// The kernel's list, and as many of ours as there is room for; without a buffer, the room that all of them need.
int list_addresses(int fd, ifconf& list) noexcept {
    const int room = list.ifc_len;
    const int result = real.ioctl(fd, SIOCGIFCONF, &list);
    if (result != 0) {
        return result;
    }
    for (const Interface& interface : ours()) {
        for (const Ipv4Prefix& prefix : interface.addresses) {
            if (list.ifc_buf != nullptr && list.ifc_len + static_cast<int>(sizeof(ifreq)) > room) {
                return 0;
            }
            if (list.ifc_buf != nullptr) {
                ifreq entry{};
                interface.name.copy(entry.ifr_name, IFNAMSIZ - 1);
                const sockaddr_in address = inet(prefix.address_host_order);
                std::memcpy(&entry.ifr_addr, &address, sizeof address);
                std::memcpy(list.ifc_buf + list.ifc_len, &entry, sizeof entry);
            }
            list.ifc_len += static_cast<int>(sizeof(ifreq));
        }
    }
    return 0;
}

// ---------------------------------------------------------------- SO_BINDTODEVICE

struct Device {
    bool is_none = false;  // no device: any
    const Interface* interface = nullptr;
};

Device device_of(int option, const void* value, socklen_t length) noexcept {
    if (value == nullptr) {
        return {};
    }
    if (option == SO_BINDTODEVICE) {
        const std::string_view name = name_in(static_cast<const char*>(value), std::min<std::size_t>(length, IFNAMSIZ - 1));
        return {name.empty(), find(name)};
    }
    int index = 0;
    if (length < sizeof index) {
        return {};
    }
    std::memcpy(&index, value, sizeof index);
    return {index == 0, find(static_cast<unsigned>(index))};
}

long take_for_device(int fd, Word word) noexcept {
    if (word.is_socket()) {
        if (socket::is_both(word.socket())) {
            leave_kernel_side(fd, word);
        }
        socket::set_on_device(word.socket(), true);
        return 0;
    }
    const auto made = open_for(fd);
    if (!made) {
        return -code_of(made.error());
    }
    socket::set_on_device(**made, true);
    return install(fd, word, **made, false) ? 0 : -EALREADY;
}

}  // namespace

std::optional<int> control_interfaces(int fd, unsigned long request, void* argument) noexcept {
    if (!is_about_interfaces(request) || ours().empty()) {
        return std::nullopt;
    }
    if (request == SIOCGIFCONF) {
        return list_addresses(fd, *static_cast<ifconf*>(argument));
    }
    const int result = real.ioctl(fd, request, argument);
    if (result == 0 || (errno != ENODEV && errno != EADDRNOTAVAIL)) {
        return result;
    }
    auto& about = *static_cast<ifreq*>(argument);
    const Interface* interface = request == SIOCGIFNAME ? find(static_cast<unsigned>(about.ifr_ifindex)) : find(name_in(about.ifr_name, IFNAMSIZ));
    return interface != nullptr ? answer(tell(*interface, request, about)) : result;
}

bool binds_to_device(int level, int name) noexcept {
    return level == SOL_SOCKET && (name == SO_BINDTODEVICE || name == SO_BINDTOIFINDEX);
}

std::optional<int> bind_to_device(int fd, Word word, int name, const void* value, socklen_t length) noexcept {
    const Device device = device_of(name, value, length);
    if (device.is_none && word.is_socket()) {
        socket::set_on_device(word.socket(), false);
    }
    if (device.is_none || (device.interface != nullptr && device.interface->index == socket::loopback_index)) {
        return real.setsockopt(fd, SOL_SOCKET, name, value, length);  // lo is where we are as well
    }
    if (device.interface == nullptr) {
        return std::nullopt;
    }
    if (ours().size() > 1 || (word.is_candidate() && kernel_port(fd) != 0)) {
        log::info("fd {}: it cannot be bound to {}: there are several links, or it was used already: ENOPROTOOPT", fd, device.interface->name);
        return answer(-ENOPROTOOPT);
    }
    return answer(take_for_device(fd, word));
}

std::optional<int> tell_device(Word word, int name, void* value, socklen_t* length) noexcept {
    if (!socket::is_on_device(word.socket()) || value == nullptr || length == nullptr) {
        return std::nullopt;
    }
    const Interface& interface = ours()[0];
    if (name == SO_BINDTODEVICE) {
        if (*length < IFNAMSIZ) {
            return answer(-EINVAL);
        }
        *length = static_cast<socklen_t>(interface.name.size() + 1);
        std::memcpy(value, interface.name.c_str(), *length);
        return 0;
    }
    const int index = static_cast<int>(interface.index);
    *length = std::min<socklen_t>(*length, sizeof index);
    std::memcpy(value, &index, *length);
    return 0;
}

}  // namespace shunt::preload

using namespace shunt::preload;

#pragma GCC diagnostic ignored "-Wmissing-declarations"
extern "C" {
SHUNT_EXPORT int getifaddrs(struct ifaddrs** list) noexcept {
    const int result = real.getifaddrs(list);
    if (result != 0 || !active) {
        return result;
    }
    const int added = add_ours(list);
    if (added != 0) {
        real.freeifaddrs(*list);
    }
    return answer(added);
}
SHUNT_EXPORT void freeifaddrs(struct ifaddrs* list) noexcept {
    free_list(list);
}
SHUNT_EXPORT unsigned if_nametoindex(const char* name) noexcept {
    const unsigned index = real.if_nametoindex(name);
    if (index != 0 || !active) {
        return index;
    }
    const Interface* interface = find(std::string_view(name));
    return interface != nullptr ? interface->index : 0;
}
SHUNT_EXPORT char* if_indextoname(unsigned index, char* name) noexcept {
    char* const found = real.if_indextoname(index, name);
    const Interface* interface = found == nullptr && active ? find(index) : nullptr;
    if (interface == nullptr) {
        return found;
    }
    std::memcpy(name, interface->name.c_str(), interface->name.size() + 1);
    return name;
}
SHUNT_EXPORT struct if_nameindex* if_nameindex() noexcept {
    struct if_nameindex* const list = real.if_nameindex();
    return list != nullptr && active ? add_ours(list) : list;
}
}
