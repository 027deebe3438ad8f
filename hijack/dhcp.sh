#!/bin/sh
# Run by busybox's udhcpc inside an instance: a lease becomes an address, routes, an
# MTU and names.
#
# udhcpc says what has happened ($1) and what the server said ($ip, $router, …).
# hijack/dhcp.py says
#     DHCP_DIRECTORY  the instance's directory,
#     DHCP_BUSYBOX    the program that has ip(8),
#     DHCP_METRIC     the metric of the interface's routes,
#     DHCP_TAKE       what to take from a lease beside address and routes: mtu,
#                     nameserver, search,
#     DHCP_STATIC     the addresses that the profile gives the interface,
#     DHCP_NAMES      the lines of resolv.conf that the profile gives,
# and listens on descriptor 9 for a lease.
#
# $DHCP_DIRECTORY/dhcp has the leases of all interfaces, as lines METRIC INTERFACE
# WORD VALUE…; only one of us looks at it at a time.
set -fu

state=$DHCP_DIRECTORY/dhcp
etc=$DHCP_DIRECTORY/etc
mine="$DHCP_METRIC $interface"

ip() {
    "$DHCP_BUSYBOX" ip "$@"
}

takes() {
    case " $DHCP_TAKE " in
    *" $1 "*) ;;
    *) return 1 ;;
    esac
}

# The lease of before, a line for each thing.
old() {
    sed -n "s/^$mine //p" "$state"
}

# The lease that udhcpc tells of.
new() {
    case " $DHCP_STATIC " in
    *" $ip "*) ;;
    *) printf 'address %s/%s\n' "$ip" "${mask:-32}" ;;
    esac
    if takes mtu && [ "${mtu:-}" ]; then
        printf 'mtu %s\n' "$mtu"
    fi
    # Who sends classless routes means them instead of the router (RFC 3442).
    if [ "${staticroutes:-}" ]; then
        # shellcheck disable=SC2086
        set -- $staticroutes
    elif [ "${router:-}" ]; then
        set -- 0.0.0.0/0 "${router%% *}"
    else
        set --
    fi
    while [ $# -ge 2 ]; do
        printf 'route %s %s\n' "$1" "$2"
        shift 2
    done
    if takes nameserver; then
        for server in ${dns:-}; do
            printf 'nameserver %s\n' "$server"
        done
    fi
    if takes search; then
        for name in ${search:-${domain:-}}; do
            printf 'search %s\n' "$name"
        done
    fi
}

# Take the lease of before back.  Its routes go with the address.
leave() {
    old | while read -r word value _; do
        if [ "$word" = address ]; then
            ip -4 addr del "$value" dev "$interface"
        fi
    done
}

# What the profile has set stays: the kernel refuses a second route to the same place.
enter() {
    while read -r word value gateway; do
        case $word in
        address)
            ip -4 addr add "$value" dev "$interface" broadcast "${broadcast:-+}"
            ;;
        mtu)
            ip link set dev "$interface" mtu "$value"
            ;;
        route)
            if [ "$gateway" = 0.0.0.0 ]; then
                set -- scope link
            else
                # A gateway need not be in the address's own network.
                set -- via "$gateway" onlink
            fi
            # 16 is DHCP, see rtnetlink(7).
            ip -4 route add "$value" "$@" dev "$interface" src "$ip" \
                metric "$DHCP_METRIC" proto 16
            ;;
        esac
    done
}

# Write resolv.conf from the profile's lines and those of all leases.
names() {
    found=$(sed -n 's/^[^ ]* [^ ]* search //p' "$state" | awk '!seen[$0]++' | tr '\n' ' ')
    {
        if [ "$found" ]; then
            printf 'search %s\n' "${found% }"
        fi
        {
            printf '%s' "$DHCP_NAMES"
            sed -n 's/^[^ ]* [^ ]* nameserver /nameserver /p' "$state"
        } | awk '!seen[$0]++'
    } >"$etc/resolv.conf.new"
    if [ -s "$etc/resolv.conf.new" ]; then
        mv "$etc/resolv.conf.new" "$etc/resolv.conf"
    else
        # The host's is seen.
        rm -f "$etc/resolv.conf.new" "$etc/resolv.conf"
    fi
}

# Make the interface what the lease, given as text, says.
become() {
    if [ "$(old)" = "$1" ]; then
        return
    fi
    leave
    if [ "$1" ]; then
        printf '%s\n' "$1" | enter
    fi
    {
        sed "/^$mine /d" "$state"
        if [ "$1" ]; then
            printf '%s\n' "$1" | sed "s/^/$mine /"
        fi
    } | sort -s -n -k1,1 >"$state.new"
    mv "$state.new" "$state"
    names
}

case $1 in
deconfig | bound | renew)
    exec 8<"$etc"
    flock 8
    [ -e "$state" ] || : >"$state"
    ;;
esac

case $1 in
deconfig)
    become ""
    ;;
bound | renew)
    become "$(new)"
    # Nobody listens after the first one.
    { echo leased >&9; } 2>/dev/null || :
    ;;
nak | leasefail)
    ;;
esac
