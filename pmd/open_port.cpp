// From a link spec to a running port: finds or creates the device, configures it for one receive and one transmit queue, and explains what
// went wrong in the user's words.
#include <fmt/core.h>
#include <net/if.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <thread>

#include "base/log.hpp"
#include "base/sys.hpp"
#include "pmd/claim.hpp"
#include "pmd/dpdk.hpp"
#include "pmd/driver_calls.hpp"
#include "pmd/eal.hpp"
#include "pmd/memif_calls.hpp"
#include "pmd/memif_wire.hpp"
#include "pmd/packet_pool.hpp"
#include "pmd/port.hpp"
#include "pmd/port_access.hpp"

namespace shunt::pmd {
namespace {

using Kind = LinkSpec::Kind;

std::string reason(int code) {
    const std::string complaint = last_complaint();
    return complaint.empty() ? std::string(rte_strerror(code < 0 ? -code : code)) : fmt::format("{}: {}", rte_strerror(code < 0 ? -code : code), complaint);
}

// net_tap computes checksums in software when asked; ours are computed once and while the data are in the cache anyway.
bool has_false_offloads(std::string_view driver) {
    return driver == "net_tap";
}

rte_eth_conf configuration(const rte_eth_dev_info& info, const PortOptions& options, std::string_view driver) {
    rte_eth_conf conf{};
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_NONE;
    if (options.mtu != 0) {
        conf.rxmode.mtu = options.mtu;
    }
    if (!has_false_offloads(driver)) {
        conf.rxmode.offloads = info.rx_offload_capa &
                               (RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM);
        conf.txmode.offloads = info.tx_offload_capa & (RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM |
                                                       RTE_ETH_TX_OFFLOAD_UDP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_TSO);
    }
    // memif offers it, but its descriptor that once carried a frame's first half says "continued" of later frames as well.
    if (driver != "net_memif") {
        conf.txmode.offloads |= info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    }
    // Never MBUF_FAST_FREE: a frame that the retransmission queue holds as well has more than one reference.
    if (options.mtu > 1500 + 500) {
        conf.rxmode.offloads |= info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER;
    }
    return conf;
}

Offloads offloads_of(const rte_eth_conf& conf, const rte_eth_dev_info& info, std::string_view driver) {
    Offloads offloads;
    const auto tx = [&](std::uint64_t bit) { return (conf.txmode.offloads & bit) != 0; };
    offloads.rx_checksum = (conf.rxmode.offloads & RTE_ETH_RX_OFFLOAD_TCP_CKSUM) != 0 && driver != "net_e1000_em";  // never says "good"
    offloads.tx_ipv4_checksum = tx(RTE_ETH_TX_OFFLOAD_IPV4_CKSUM);
    offloads.tx_tcp_checksum = tx(RTE_ETH_TX_OFFLOAD_TCP_CKSUM);
    offloads.tx_udp_checksum = tx(RTE_ETH_TX_OFFLOAD_UDP_CKSUM);
    offloads.multi_segment = tx(RTE_ETH_TX_OFFLOAD_MULTI_SEGS) || driver == "net_ring";
    offloads.tx_pieces_max = info.tx_desc_lim.nb_seg_max;
    // A segmenting card puts the checksums into what it makes.
    offloads.tcp_segmentation = tx(RTE_ETH_TX_OFFLOAD_TCP_TSO) && offloads.tx_ipv4_checksum && offloads.tx_tcp_checksum && offloads.multi_segment;
    return offloads;
}

// Everything between configure and start, so that it can be tried with and without the receive interrupt.
int configure_and_start(std::uint16_t id, const rte_eth_dev_info& info, rte_eth_conf& conf, const PortOptions& options, rte_mempool* pool) {
    std::uint16_t rx = options.rx_descriptors, tx = options.tx_descriptors;
    if (int code = rte_eth_dev_configure(id, 1, 1, &conf); code != 0) {
        return code;
    }
    if (int code = rte_eth_dev_adjust_nb_rx_tx_desc(id, &rx, &tx); code != 0) {
        return code;
    }
    rte_eth_rxconf rx_conf = info.default_rxconf;
    rx_conf.offloads = conf.rxmode.offloads;
    rte_eth_txconf tx_conf = info.default_txconf;
    tx_conf.offloads = conf.txmode.offloads;
    const auto socket = static_cast<unsigned>(rte_eth_dev_socket_id(id));
    if (int code = rte_eth_rx_queue_setup(id, 0, rx, socket, &rx_conf, pool); code != 0) {
        return code;
    }
    if (int code = rte_eth_tx_queue_setup(id, 0, tx, socket, &tx_conf); code != 0) {
        return code;
    }
    // A memif client's start is its first attempt to connect; the server may just be opening its socket.
    int code = rte_eth_dev_start(id);
    for (int tries = 0; code != 0 && std::string_view(info.driver_name) == "net_memif" && tries < 500; ++tries) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        code = rte_eth_dev_start(id);
    }
    return code;
}

// e1000 and e1000e set the interrupt up and never wake (pmd/README.md, the table of drivers); sleeping on it would be for ever.
bool has_false_interrupt(std::string_view driver) {
    return driver == "net_e1000_em";
}

Outcome<void> attach(const std::string& name, const std::string& arguments, std::string_view text, std::string_view remedy) {
    forget_complaints();
    if (const int code = rte_eal_hotplug_add("vdev", name.c_str(), arguments.c_str()); code != 0) {
        return explain(code == -EPERM || code == -EACCES ? EPERM : ENODEV, fmt::format("--link {}: {}; {}", text, reason(code), remedy));
    }
    return {};
}

Outcome<std::uint16_t> port_named(const std::string& name, std::string_view text) {
    std::uint16_t id = 0;
    if (rte_eth_dev_get_port_by_name(name.c_str(), &id) != 0) {
        return explain(ENODEV, fmt::format("--link {}: DPDK made no port of it; {}", text, reason(ENODEV)));
    }
    return id;
}

Outcome<std::uint16_t> attach_and_find(const std::string& name, const std::string& arguments, std::string_view text, std::string_view remedy) {
    if (auto attached = attach(name, arguments, text, remedy); !attached) {
        return std::unexpected(attached.error());
    }
    return port_named(name, text);
}

Outcome<std::uint16_t> find_or_create_memif(const LinkSpec& spec, const std::string& text, unsigned index) {
    if (!memif::create_gates()) {
        return explain(ENOMEM, fmt::format("--link {}: no memory; raise the limit (ulimit -v)", text));
    }
    auto end = memif::claim_end(spec.value);
    if (!end) {
        return std::unexpected(end.error());
    }
    auto id = attach_and_find(fmt::format("net_memif{}", index), memif::device_arguments(spec.value, *end), text,
                              "give another name, or end the program that uses it");
    if (!id || *id >= memif::ports_max) {
        release(end->claim);
        return id;
    }
    memif::note_end(*id, *end);
    keep(*id, end->claim);
    return id;
}

// The devices that stand for an interface of the kernel's.
Outcome<std::uint16_t> find_or_create_on_interface(const LinkSpec& spec, const std::string& text, unsigned index) {
    const bool is_root = sys::call(SYS_geteuid) == 0;
    if (spec.kind != Kind::tap && if_nametoindex(spec.value.c_str()) == 0) {
        return explain(ENODEV, fmt::format("--link {}: there is no interface {}; ip link shows what there is", text, spec.value));
    }
    const std::string remedy = is_root ? fmt::format("is {} free, and is there CAP_NET_ADMIN?", spec.value)
                                       : "it needs root, or CAP_NET_ADMIN and CAP_NET_RAW; memif:NAME needs neither";
    const char* driver = spec.kind == Kind::tap ? "net_tap" : spec.kind == Kind::xdp ? "net_af_xdp" : "net_af_packet";
    return attach_and_find(fmt::format("{}{}", driver, index), fmt::format("iface={}", spec.value), text, remedy);
}

std::string claim_name(const std::string& text) {
    constexpr std::size_t most = 90;   // a name may have 107 bytes
    return "shunt-link-" + text.substr(0, std::min(text.find(','), most));
}

// A link that one program can have, and after its end its keeper until all is delivered.
Outcome<Claim> claim_link(const std::string& text) {
    auto claim = try_claim(claim_name(text));
    if (claim) {
        return *claim;
    }
    switch (claim.error().reason) {
        case Refusal::in_use: return explain(EBUSY, fmt::format("--link {}: another program of Shunt's uses it; end that one", text));
        case Refusal::is_delivering: return explain(EBUSY, fmt::format("--link {}: what the program before has written is still being delivered; try again later", text));
        case Refusal::system: break;
    }
    return explain(claim.error().code, fmt::format("--link {}: cannot be claimed ({})", text, std::strerror(claim.error().code)));
}

Outcome<std::uint16_t> find_or_create_unclaimed(const LinkSpec& spec, const std::string& text, unsigned index) {
    switch (spec.kind) {
        case Kind::memif:
        case Kind::loop: break;
        case Kind::tap:
        case Kind::xdp:
        case Kind::packet: return find_or_create_on_interface(spec, text, index);
        case Kind::pci: return port_named(spec.value, text);
        case Kind::dpdk: {
            const std::size_t comma = spec.value.find(',');
            const std::string name = spec.value.substr(0, comma);
            return attach_and_find(name, comma == std::string::npos ? "" : spec.value.substr(comma + 1), text, "are DPDK's device arguments right?");
        }
    }
    return explain(EINVAL, fmt::format("--link {}: is no port", text));
}

Outcome<std::uint16_t> find_or_create(const LinkSpec& spec, const std::string& text, unsigned index) {
    if (spec.kind == Kind::memif) {
        return find_or_create_memif(spec, text, index);
    }
    auto claim = claim_link(text);
    if (!claim) {
        return std::unexpected(claim.error());
    }
    auto id = find_or_create_unclaimed(spec, text, index);
    if (!id || *id >= claims_max) {
        release(*claim);
        return id;
    }
    keep(*id, *claim);
    return id;
}

}  // namespace

Outcome<Port> PortAccess::start(std::uint16_t id, std::string_view text, const PortOptions& options) {
    rte_eth_dev_info info{};
    if (const int code = rte_eth_dev_info_get(id, &info); code != 0) {
        return explain(ENODEV, fmt::format("--link {}: {}", text, reason(code)));
    }
    if (options.mtu != 0 && (options.mtu < info.min_mtu || options.mtu > info.max_mtu)) {
        return explain(ERANGE, fmt::format("--mtu {}: the link {} takes {} to {}", options.mtu, text, info.min_mtu, info.max_mtu));
    }
    const auto pool = use_packet_pool(options.packets);
    if (!pool) {
        return std::unexpected(pool.error());
    }
    const std::string_view driver = info.driver_name;
    rte_eth_conf conf = configuration(info, options, driver);
    forget_complaints();
    conf.intr_conf.rxq = options.rx_interrupt && !has_false_interrupt(driver) ? 1 : 0;
    int code = configure_and_start(id, info, conf, options, *pool);
    if (code != 0 && conf.intr_conf.rxq != 0) {
        conf.intr_conf.rxq = 0;
        code = configure_and_start(id, info, conf, options, *pool);
    }
    if (code != 0) {
        release_packet_pool();
        return explain(EIO, fmt::format("--link {}: the port does not start ({}); SHUNT_LOG=debug shows DPDK's own log", text, reason(code)));
    }
    Port port;
    port.id = id;
    port.pool = *pool;
    port.offloads = offloads_of(conf, info, driver);
    port.prepares_tx_ = (conf.txmode.offloads & ~RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0;
    if (conf.intr_conf.rxq != 0) {
        find_rx_event(port, driver);
    }
    rte_ether_addr mac{};
    if (options.mac) {
        std::copy(options.mac->begin(), options.mac->end(), mac.addr_bytes);
        // net_tap would give it to the kernel's end.
        if (driver == "net_tap" || rte_eth_dev_default_mac_addr_set(id, &mac) != 0) {
            rte_eth_promiscuous_enable(id);
        }
    } else {
        rte_eth_macaddr_get(id, &mac);
        if (driver == "net_tap") {
            mac.addr_bytes[5] ^= 1;   // net_tap gives the address of the kernel's end; ours, at the other end of the wire, must differ
        }
    }
    std::copy(std::begin(mac.addr_bytes), std::end(mac.addr_bytes), port.mac.begin());
    rte_eth_allmulticast_enable(id);   // groups are sorted out above; not every driver can, and then it passes all or says so
    rte_eth_dev_get_mtu(id, &port.mtu);
    if (options.mtu != 0) {
        port.mtu = options.mtu;
    }
    return port;
}

// Where a frame that comes shows. net_tap has no interrupt to be armed: what it gives is the tap's own descriptor, which tells of every frame.
void PortAccess::find_rx_event(Port& port, std::string_view driver) noexcept {
    port.rx_event_is_frames_ = driver == "net_tap";
    if (port.rx_event_is_frames_ || rte_eth_dev_rx_intr_enable(port.id, 0) == 0) {
        rte_eth_dev_rx_intr_disable(port.id, 0);
        set_rx_event(port, rte_eth_dev_rx_intr_ctl_q_get_fd(port.id, 0));
    }
}

void PortAccess::set_rx_event(Port& port, int fd) noexcept {
    port.rx_event_fd_ = fd;
    port.offloads.rx_interrupt = fd >= 0;
}

Outcome<Port> open_port(const LinkSpec& spec, const PortOptions& options) {
    const std::string text = to_string(spec);
    const auto id = find_or_create(spec, text, options.index);
    if (!id) {
        return std::unexpected(id.error());
    }
    auto port = PortAccess::start(*id, text, options);
    if (port) {
        port->is_gated = spec.kind == Kind::memif;
        if (port->is_gated) {
            memif::watch(port->id);
            PortAccess::set_rx_event(*port, options.rx_interrupt ? memif::create_doorbell(port->id, port->pool) : -1);
        }
    }
    return port;
}

std::vector<std::string> claim_names(const LinkSpec& spec) {
    if (spec.kind == Kind::memif) {
        return {memif::end_name(spec.value, true), memif::end_name(spec.value, false)};
    }
    return {claim_name(to_string(spec))};
}

Outcome<Port> open_packet_source(std::uint32_t packets) {
    const auto pool = use_packet_pool(packets);
    if (!pool) {
        return std::unexpected(pool.error());
    }
    Port port;
    port.pool = *pool;
    return port;
}

void close_port(Port& port) noexcept {
    if (port.is_gated) {
        memif::unwatch(port.id);
        if (port.rx_event_fd() >= 0) {
            close_ours(port.rx_event_fd());
        }
    }
    rte_eth_dev_stop(port.id);
    rte_eth_dev_close(port.id);
    give_back(port.id);
    release_packet_pool();
    port = Port{};
}

}  // namespace shunt::pmd
