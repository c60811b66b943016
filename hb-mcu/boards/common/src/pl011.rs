//! ARM's PL011 UART (DDI 0183), served by interrupts: that of the LM3S6965 and of the RP2040.

use crate::register::Register;
use crate::rings::Rings;

const DR: usize = 0x00;
const FR: usize = 0x18;
const IBRD: usize = 0x24;
const FBRD: usize = 0x28;
const LCRH: usize = 0x2C;
const CTL: usize = 0x30;
const IFLS: usize = 0x34;
const IM: usize = 0x38;
const ICR: usize = 0x44;
/// Receive and receive-timeout, transmit, overrun.
const ALL: u32 = 1 << 4 | 1 << 6 | 1 << 5 | 1 << 10;
const TX_FULL: u32 = 1 << 5;
const RX_EMPTY: u32 = 1 << 4;
const OVERRUN: u32 = 1 << 11;

/// One UART, by its first register.
#[derive(Clone, Copy, Debug)]
pub struct Pl011(pub Register);

impl Pl011 {
    /// Opens it, 8N1 with FIFOs, at a divisor of `whole` + `sixtyfourths` / 64 of 16 times the speed.
    pub fn open(self, whole: u32, sixtyfourths: u32) {
        let Self(uart) = self;
        uart.plus(CTL).write(0);
        uart.plus(IBRD).write(whole);
        uart.plus(FBRD).write(sixtyfourths);
        uart.plus(LCRH).write(0b111 << 4);
        // Interrupts at an eighth of either FIFO, and when the line has been idle for 32 bits.
        uart.plus(IFLS).write(0);
        uart.plus(IM).write(ALL);
        uart.plus(CTL).write(0b11 << 8 | 1);
        // What came before the speed was set. QEMU hands over nothing more until somebody has read.
        while uart.plus(FR).read() & RX_EMPTY == 0 {
            let _ = uart.plus(DR).read();
        }
        let _ = uart.plus(DR).read();
    }

    /// Its interrupt: takes what came, gives what goes.
    pub fn serve(self, rings: &Rings) {
        let Self(uart) = self;
        uart.plus(ICR).write(0x7FF);
        while uart.plus(FR).read() & RX_EMPTY == 0 {
            let word = uart.plus(DR).read();
            if word & OVERRUN != 0 {
                rings.came.note_loss();
            }
            rings.came.put(word as u8);
        }
        while uart.plus(FR).read() & TX_FULL == 0 {
            let Some(byte) = rings.goes.take() else { return };
            uart.plus(DR).write(byte.into());
        }
    }
}
