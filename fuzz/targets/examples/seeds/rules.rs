//! Seeds of policies, and of sanctions lists with what they are made of.

use sealstone_attestation::UnixTime;
use sealstone_policy::sanctions::Importer;

use crate::save;
use crate::scene::NOW;

const ETH: &str = "0xe7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7";

pub(crate) fn save_all() {
    let document = include_str!("../../../../docs/policy.md");
    let begin = document.find("# policy.toml").unwrap();
    let end = begin + document[begin..].find("```").unwrap();
    save("policy", "documented.toml", &document[begin..end]);
    save("policy", "nothing.toml", "version = 1\nsanctions = \"off\"\n");

    let nothing = ["-0- "; 7].join(",");
    let row = |number: u32, remarks: &str| {
        format!("{number},\"MALLORY, Eve\",\"individual\",\"CYBER2\",{nothing},\"{remarks}\"\r\n")
    };
    let sdn = row(1, &format!("DOB 01 Jan 1980; Digital Currency Address - ETH {ETH}; more."))
        + "2,\"S.S. EXAMPLE\",\"vessel\",\"OTHER\",-0- ,\"C1\",\"Tanker\",\"1,000\",\"500\",\"Ruritania\",-0- ,-0- \r\n";
    // A remark that is cut, and its end, as if both files were one.
    let cut = row(3, &"x".repeat(1000)) + &format!("3,\" Digital Currency Address - ETH {ETH}.\"\r\n\x1a");
    let own = format!("name,Address\nsomebody,{ETH}\nnobody,\n");
    let plain = format!("\u{feff}# ours\n{ETH}\n1BoatSLRHtKNngkdXEeobR76b53LETtpyT\n");
    for (name, text) in [("treasury.csv", sdn), ("cut.csv", cut), ("own.csv", own), ("plain.csv", plain)] {
        let mut importer = Importer::new();
        importer.read(text.as_bytes(), |_| ()).unwrap();
        let list = importer.finish(NOW).unwrap();
        save("sanctions_csv", name, text);
        save("sanctions_list", &name.replace(".csv", ".list"), list.to_bytes());
    }
    let mut late = Importer::new();
    late.read(ETH.as_bytes(), |_| ()).unwrap();
    save("sanctions_list", "late.list", late.finish(UnixTime::MAX).unwrap().to_bytes());
}
