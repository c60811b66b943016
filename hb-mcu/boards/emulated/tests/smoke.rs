//! t
use emulated::*;
#[test]
fn smoke() {
    let elf = firmware(Firmware::Shipped).unwrap();
    let supply = Supply::new("smoke");
    let mut board = Board::on(&elf, &supply);
    println!("{:?}", board.lines[0].identify());
    provision(&mut board.lines[1]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    println!("{:?}", board.lines[0].identify());
    println!("{:?}", board.lines[0].said());
}
