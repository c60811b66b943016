//! Lines, byte by byte.

use super::*;

fn line(frame: &[u8]) -> Vec<u8> {
    let mut out = [0; LINE_FRAME];
    cobs::encode(frame, &mut out).expect("fits").to_vec()
}

#[test]
fn thirty_two_bytes_at_19200_take_16_7_ms() {
    let mut wire = Wire::new(LinkKind::Serial { baud: 19200 });
    let bytes = line(&[7; 30]);
    assert_eq!(bytes.len(), 32);
    assert_eq!(wire.send(1_000, &bytes), 17_667);
}

/// Whatever moments it is looked at, the same bytes arrive.
#[test]
fn runs_and_single_bytes_are_the_same_line() {
    let mut rng = Rng::new(1);
    for step in [40, 521, 9_999] {
        let mut wire = Wire::new(LinkKind::Serial { baud: 19200 });
        let mut port = Port::open(wire.kind);
        let bytes = line(&[1, 0, 2, 3, 4, 5, 6, 7, 8, 9]);
        let end = wire.send(0, &bytes);
        let mut at = 0;
        while at <= end + step {
            wire.settle(at, Some(&mut port), false, &mut rng);
            at += step;
        }
        let Port::Serial(framed) = &port else { panic!("a serial port") };
        assert_eq!(framed.port().received, bytes, "looked at each {step} µs");
    }
}

fn received(port: &Port) -> Vec<u8> {
    let Port::Serial(framed) = port else { panic!("a serial port") };
    framed.port().received.iter().copied().collect()
}

#[test]
fn another_speed_is_garbage_of_another_length() {
    for (heard, length) in [(9_600, 16), (19_200, 32), (38_400, 64)] {
        let mut wire = Wire::new(LinkKind::Serial { baud: 19_200 });
        wire.hear_at(heard);
        let mut port = Port::open(wire.kind);
        let bytes = line(&[7; 30]);
        let end = wire.send(0, &bytes);
        wire.settle(end, Some(&mut port), false, &mut Rng::new(1));
        assert_eq!(received(&port).len(), length, "heard at {heard}");
        assert_eq!(received(&port) == bytes, heard == 19_200);
    }
}

/// The speed changes while a frame is under way: that one left at the old one.
#[test]
fn what_is_under_way_keeps_its_speed() {
    let mut wire = Wire::new(LinkKind::Serial { baud: 19_200 });
    let mut port = Port::open(wire.kind);
    let bytes = line(&[7; 30]);
    let end = wire.send(0, &bytes);
    wire.settle(end / 2, Some(&mut port), false, &mut Rng::new(1));
    wire.send_at(9_600);
    wire.settle(end, Some(&mut port), false, &mut Rng::new(1));
    assert_eq!(received(&port), bytes);
}

#[test]
fn a_break_is_one_zero_and_loses_what_is_sent_meanwhile() {
    let mut wire = Wire::new(LinkKind::Serial { baud: 19_200 });
    let mut port = Port::open(wire.kind);
    assert!(wire.hold_break(0, 8_400, Some(&mut port), false));
    let end = wire.send(0, &line(&[9; 30]));
    wire.settle(end, Some(&mut port), false, &mut Rng::new(1));
    let bytes = received(&port);
    assert_eq!((bytes[0], bytes.len()), (0, 1 + 16), "8.4 ms at 521 µs a byte");
}

#[test]
fn a_burst_of_noise_spoils_and_loses_nothing() {
    let mut wire = Wire::new(LinkKind::Serial { baud: 19_200 });
    wire.weather = Weather { bursts: 1_000_000, burst_bytes: 5, ..Weather::default() };
    let mut port = Port::open(wire.kind);
    let bytes = line(&[7; 30]);
    let end = wire.send(0, &bytes);
    wire.settle(end, Some(&mut port), false, &mut Rng::new(1));
    assert_eq!(received(&port).len(), bytes.len());
    assert_ne!(received(&port), bytes);
    assert_eq!(wire.carried.damaged, 32);
}

#[test]
fn a_cut_in_mid_frame_loses_the_rest() {
    let mut rng = Rng::new(1);
    let mut wire = Wire::new(LinkKind::Serial { baud: 19200 });
    let mut port = Port::open(wire.kind);
    let bytes = line(&[9; 30]);
    wire.send(0, &bytes);
    wire.settle(8_400, Some(&mut port), false, &mut rng);
    wire.cut = true;
    wire.settle(99_999, Some(&mut port), false, &mut rng);
    let Port::Serial(framed) = &port else { panic!("a serial port") };
    assert_eq!(framed.port().received.len(), 16, "8.4 ms at 521 µs a byte");
    assert_eq!(wire.carried.lost, 16);
}
