# make                    build
# make install            as root; DESTDIR= for packages, PREFIX= (default /usr), SYSCONFDIR= (default /etc)
# make uninstall          leaves /etc/ha.d and what is in it
# make check              everything that CI checks

PREFIX     ?= /usr
SYSCONFDIR ?= /etc
SBINDIR    ?= $(PREFIX)/sbin
BINDIR     ?= $(PREFIX)/bin
UNITDIR    ?= $(PREFIX)/lib/systemd/system
DOCDIR     ?= $(PREFIX)/share/doc/heartbeat
HADIR      ?= $(SYSCONFDIR)/ha.d
# Where cargo put the binaries.
BUILT      ?= $(or $(CARGO_TARGET_DIR),target)/release

CARGO   ?= cargo
INSTALL ?= install
IPADDR   = $(DESTDIR)$(HADIR)/resource.d/IPaddr
PPP      = $(DESTDIR)$(HADIR)/ppp-options

.PHONY: all check install uninstall

all:
	$(CARGO) build --release --locked -p hb-linux

check:
	$(CARGO) xtask test

# Doesn't build: root often has no cargo. Doesn't touch a file in /etc/ha.d that exists.
install:
	@test -x "$(BUILT)/heartbeatd" -a -x "$(BUILT)/hb" || \
		{ echo "no binaries in $(BUILT): run \`make\` first, as the user who has cargo" >&2; exit 1; }
	$(INSTALL) -d "$(DESTDIR)$(SBINDIR)" "$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(UNITDIR)"
	$(INSTALL) -d "$(DESTDIR)$(DOCDIR)/examples" "$(DESTDIR)$(HADIR)/resource.d"
	$(INSTALL) -m 0755 "$(BUILT)/heartbeatd" "$(DESTDIR)$(SBINDIR)/heartbeatd"
	$(INSTALL) -m 0755 "$(BUILT)/hb" "$(DESTDIR)$(BINDIR)/hb"
	ln -sf hb "$(DESTDIR)$(BINDIR)/hb_standby"
	ln -sf hb "$(DESTDIR)$(BINDIR)/hb_takeover"
	ln -sf "$(BINDIR)/hb" "$(DESTDIR)$(SBINDIR)/fence_heartbeat_dongle"
	sed -e 's|^ExecStart=/usr/sbin/|ExecStart=$(SBINDIR)/|' -e 's|^ExecReload=/usr/bin/|ExecReload=$(BINDIR)/|' \
		hb-linux/pkg/heartbeat.service \
		> "$(DESTDIR)$(UNITDIR)/heartbeat.service"
	chmod 0644 "$(DESTDIR)$(UNITDIR)/heartbeat.service"
	$(INSTALL) -m 0644 hb-linux/pkg/examples/ha.cf hb-linux/pkg/examples/haresources \
		hb-linux/pkg/examples/authkeys hb-linux/pkg/ppp-options "$(DESTDIR)$(DOCDIR)/examples"
	$(INSTALL) -m 0755 hb-linux/pkg/examples/alert "$(DESTDIR)$(DOCDIR)/examples"
	$(INSTALL) -m 0644 LICENSE-MIT LICENSE-APACHE "$(DESTDIR)$(DOCDIR)"
	@if test -e "$(PPP)" -o -L "$(PPP)"; then \
		echo "kept: $(PPP) (the original is in $(DOCDIR)/examples)"; \
	else \
		$(INSTALL) -m 0644 hb-linux/pkg/ppp-options "$(PPP)"; \
	fi
	@if test -e "$(IPADDR)" -o -L "$(IPADDR)"; then \
		echo "kept: $(IPADDR) (heartbeatd has its own and does not need it)"; \
	else \
		ln -s "$(BINDIR)/hb" "$(IPADDR)"; \
	fi
	@test -n "$(DESTDIR)" || echo "next: ha.cf, haresources and authkeys in $(HADIR) (examples in" \
		"$(DOCDIR)/examples), then: hb check && systemctl daemon-reload && systemctl enable --now heartbeat"

uninstall:
	rm -f "$(DESTDIR)$(SBINDIR)/heartbeatd" "$(DESTDIR)$(BINDIR)/hb"
	rm -f "$(DESTDIR)$(BINDIR)/hb_standby" "$(DESTDIR)$(BINDIR)/hb_takeover"
	rm -f "$(DESTDIR)$(SBINDIR)/fence_heartbeat_dongle"
	rm -f "$(DESTDIR)$(UNITDIR)/heartbeat.service"
	rm -rf "$(DESTDIR)$(DOCDIR)"
	@if cmp -s hb-linux/pkg/ppp-options "$(PPP)"; then rm -f "$(PPP)"; fi
	@if test "$$(readlink "$(IPADDR)")" = "$(BINDIR)/hb"; then rm -f "$(IPADDR)"; fi
